"""The container's view of files, made in its new mount namespace while the host's tree is still the root.

rootfs.py tells the order. A place in the image is opened below the root's descriptor (resolve.py), a mount is made
where nobody sees it, given its attributes, and attached onto that descriptor. Paths of the host are trusted, and are as
good as any until pivot.py takes them out of sight; paths of the image never reach the kernel but below the root's
descriptor.

An error ends the process that these functions run in, so nothing is tidied up on the way out of one.
"""
