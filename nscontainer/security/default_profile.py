"""The default filter of system calls: what a program may ask of the kernel in a container that nobody trusts.

Lesson  A container shares its kernel with the host, so every call is a door; programs use few, and attackers the rest.
Read    syscalls(2), seccomp(2), and the manual page of each call

An allow-list: a call that no group names fails with EPERM, and one that is newer than all of them with ENOSYS, so that
programs fall back as they would on an older kernel. Each group has its reason, and so has what is left out. The names
of all machines stand together: a name that a machine does not have costs nothing there.
"""
from __future__ import annotations

from errno import EAFNOSUPPORT, EIO, ENOSYS

from ..config import Action, Arg, Operator, Seccomp, Syscall
from .seccomp_compiler import native_machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Group = tuple[str, str]  # the reason, the names

__all__ = ["ALLOWED", "DENIED", "WITH_CAPABILITY", "default_profile"]

ALLOWED: tuple[Group, ...] = (
    ("Files: open, read, write. What may be opened is for permissions, mounts and Landlock to say.", """
        open openat openat2 creat close close_range read write readv writev pread64 pwrite64 preadv pwritev preadv2
        pwritev2 lseek _llseek dup dup2 dup3 fcntl fcntl64 flock pipe pipe2 truncate truncate64 ftruncate ftruncate64
        fallocate fadvise64 fadvise64_64 arm_fadvise64_64 readahead sync syncfs fsync fdatasync sync_file_range
        sync_file_range2 arm_sync_file_range sendfile sendfile64 copy_file_range splice tee vmsplice cachestat"""),
    ("Names and attributes of files.", """
        stat stat64 lstat lstat64 fstat fstat64 newfstatat fstatat64 statx statfs statfs64 fstatfs fstatfs64 access
        faccessat faccessat2 getcwd chdir fchdir readlink readlinkat link linkat symlink symlinkat unlink unlinkat
        rename renameat renameat2 mkdir mkdirat rmdir getdents getdents64 readdir chmod fchmod fchmodat fchmodat2 chown
        chown32 fchown fchown32 fchownat lchown lchown32 utime utimes futimesat utimensat utimensat_time64 umask
        getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr
        listxattrat removexattr lremovexattr fremovexattr removexattrat file_getattr file_setattr name_to_handle_at
        inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark"""),
    ("Nodes: fifos for everybody. Devices take CAP_MKNOD, and the device rules of the cgroup decide on their use.", """
        mknod mknodat"""),
    ("Memory of one's own, within what the cgroup allows.", """
        brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall
        remap_file_pages membarrier memfd_create memfd_secret pkey_alloc pkey_free pkey_mprotect mseal
        map_shadow_stack"""),
    ("Waiting for several things at once, and being told.", """
        select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 epoll_ctl
        epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4
        io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64"""),
    ("Processes and threads; clone by itself, below, for its flags.", """
        fork vfork execve execveat exit exit_group wait4 waitid waitpid kill tkill tgkill getpid getppid gettid getpgid
        getpgrp setpgid getsid setsid set_tid_address set_robust_list get_robust_list futex futex_time64 futex_waitv
        futex_wait futex_wake futex_requeue rseq rseq_slice_yield set_thread_area get_thread_area arch_prctl prctl
        capget capset pidfd_open pidfd_send_signal pidfd_getfd process_madvise process_mrelease restart_syscall pause
        getcpu getrusage times sysinfo uname olduname oldolduname"""),
    ("Debugging: since Linux 4.8 no tracer leads a call past the filter, and the pid namespace says whom to trace.",
     "ptrace process_vm_readv process_vm_writev"),
    ("Signals, to whom the pid namespace and the user allow.", """
        signal sigaction rt_sigaction sigprocmask rt_sigprocmask sigreturn rt_sigreturn sigpending rt_sigpending
        sigsuspend rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_sigqueueinfo rt_tgsigqueueinfo
        sigaltstack"""),
    ("Scheduling of one's own processes; what needs CAP_SYS_NICE is refused by the kernel.", """
        sched_yield sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_getattr sched_setattr
        sched_getaffinity sched_setaffinity sched_get_priority_max sched_get_priority_min sched_rr_get_interval
        sched_rr_get_interval_time64 getpriority setpriority nice ioprio_get ioprio_set getrlimit ugetrlimit setrlimit
        prlimit64"""),
    ("Clocks and timers. To set a clock of the host takes CAP_SYS_TIME, and calls of their own.", """
        time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep
        clock_nanosleep_time64 nanosleep alarm getitimer setitimer timer_create timer_delete timer_getoverrun
        timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
        timerfd_settime timerfd_settime64 adjtimex clock_adjtime clock_adjtime64"""),
    ("Users: an id of the container's own, or the capability for another.", """
        getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid
        getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32
        setresuid setresuid32 setresgid setresgid32 setgroups setgroups32 setfsuid setfsuid32 setfsgid setfsgid32"""),
    ("Sockets once they are made; socket by itself, below, for its families.", """
        socketpair bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt send sendto sendmsg
        sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64 shutdown"""),
    ("Messages, semaphores and memory of the IPC namespace.", """
        ipc msgget msgctl msgsnd msgrcv semget semctl semop semtimedop semtimedop_time64 shmget shmctl shmat shmdt
        mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive
        mq_timedreceive_time64"""),
    ("To give up more of one's own power.", """
        seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"""),
    ("Randomness without a file.", "getrandom"),
    ("What a machine's C library cannot do without.", """
        cacheflush set_tls get_tls breakpoint riscv_flush_icache riscv_hwprobe swapcontext s390_runtime_instr
        s390_guarded_storage"""),
    ("What the kernel itself puts into a program on which the host has set a probe.", "uprobe uretprobe"),
)

# A capability that the config leaves the container opens what it is for: the kernel would refuse without it anyway,
# but a filter that opens only what may work keeps bugs in it out of reach.
WITH_CAPABILITY: dict[str, str] = {
    "CAP_SYS_ADMIN": """
        mount umount umount2 pivot_root open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick mount_setattr
        statmount listmount listns unshare setns sethostname setdomainname quotactl quotactl_fd fanotify_init
        lookup_dcookie bpf perf_event_open lsm_list_modules lsm_get_self_attr lsm_set_self_attr clone clone3""",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_PTRACE": "kcmp",
    "CAP_SYS_NICE": "get_mempolicy set_mempolicy mbind migrate_pages move_pages set_mempolicy_home_node",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_MODULE": "init_module finit_module delete_module",
    "CAP_SYS_BOOT": "reboot kexec_load kexec_file_load",
    "CAP_SYS_RAWIO": "iopl ioperm s390_pci_mmio_read s390_pci_mmio_write",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

# What is left out, and why: for the reader, and for the tests.
DENIED: tuple[Group, ...] = (
    ("""New namespaces, above all of users: in one of its own, anybody is root towards code that only root was to reach
        (CVE-2020-14386, CVE-2021-22555, CVE-2022-0185, CVE-2022-0492, CVE-2022-32250, CVE-2023-32233,
        CVE-2024-1086).""",
     "unshare setns"),
    ("Mounts (CVE-2022-0185, CVE-2022-0492, CVE-2021-3493, CVE-2023-0386).",
     """mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr open_tree_attr
        statmount listmount listns"""),
    ("A file by its handle, past every mount: the escape called shocker (CVE-2014-3519).", "open_by_handle_at"),
    ("Keyrings are not in any namespace.", "keyctl add_key request_key"),
    ("Programs that run in the kernel, and its counters.", "bpf perf_event_open"),
    ("Page faults handled by the program hold the kernel where an attacker wants it.", "userfaultfd"),
    ("Calls that pass by this filter, and a long row of bugs.", "io_uring_setup io_uring_enter io_uring_register"),
    ("The host itself: modules, kernels, clocks, swap, ports, accounting, the log.",
     """init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff settimeofday
        clock_settime iopl ioperm acct quotactl quotactl_fd syslog sethostname setdomainname vhangup chroot"""),
    ("Where other processes' memory lies, and the machine's.", "kcmp move_pages migrate_pages mbind set_mempolicy"),
    ("Old, and used by nobody: the least tested code there is.",
     """modify_ldt uselib ustat sysfs _sysctl lookup_dcookie nfsservctl vm86 vm86old get_kernel_syms query_module
        create_module"""),
)

_INT = 0xFFFFFFFF       # where the kernel takes an int, the upper half of the register is nobody's: CVE-2019-10063
_NAMESPACES = 0x7E020000    # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_TIOCSTI, _TIOCLINUX = (0x5412, 0x541C)
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
_AF_PACKET = 17
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # LINUX, LINUX32, each with UNAME26, and "tell me"


def default_profile(capabilities: Iterable[str] = (), architectures: Iterable[str] = (),
                    machine: str | None = None) -> Seccomp:
    """Return the profile for a container that is left *capabilities*, on *machine*, this one by default.

    Programs of other *architectures* that the kernel could run, 32-bit ones for example, are killed unless listed.
    """
    machine = machine or native_machine()
    held = frozenset(capabilities)
    names = [name for _, group in ALLOWED for name in group.split()]
    for capability, group in WITH_CAPABILITY.items():
        if capability in held:
            names += group.split()
    rules = [Syscall("", Action.ALLOW, (), tuple(dict.fromkeys(names)))]
    if "CAP_SYS_ADMIN" not in held:
        rules += _new_namespaces(machine)
    rules += _terminals()
    rules += _families((*_FAMILIES, _AF_PACKET) if "CAP_NET_RAW" in held else _FAMILIES)
    rules += [Syscall("personality", Action.ALLOW, (Arg(0, value, 0, Operator.EQUAL_TO),)) for value in _PERSONALITIES]
    # A library that may not use these is to do without them, as on a kernel that was built so.
    rules.append(Syscall("", Action.ERRNO, (), ("io_uring_setup", "io_uring_enter", "io_uring_register"), ENOSYS))
    return Seccomp(Action.ERRNO, tuple(architectures), tuple(rules), strict=True)


def _new_namespaces(machine: str) -> list[Syscall]:
    """Clone without a new namespace; clone3 keeps its flags in memory, where no filter looks, so it does not exist."""
    flags = 1 if machine in ("s390x", "s390") else 0  # clone(2): there the stack is first
    return [Syscall("clone", Action.ALLOW, (Arg(flags, _NAMESPACES, 0, Operator.MASK_EQUAL_TO),)),
            Syscall("clone3", Action.ERRNO, errno_ret=ENOSYS)]


def _terminals() -> list[Syscall]:
    """Every ioctl but the two that type into a terminal for its owner (CVE-2016-7545, CVE-2017-5226).

    They answer EIO, as where dev.tty.legacy_tiocsti is 0: Linux 6.2.
    """
    return [*[Syscall("ioctl", Action.ERRNO, (Arg(1, _INT, request, Operator.MASK_EQUAL_TO),), errno_ret=EIO)
              for request in (_TIOCSTI, _TIOCLINUX)],
            Syscall("ioctl", Action.ALLOW, (_ALWAYS,))]


def _families(families: Iterable[int]) -> list[Syscall]:
    """The families of sockets that programs use. Each other one (vsock reaches the hypervisor) is unknown here."""
    return [*[Syscall("socket", Action.ALLOW, (Arg(0, _INT, family, Operator.MASK_EQUAL_TO),)) for family in families],
            Syscall("socket", Action.ERRNO, (_ALWAYS,), errno_ret=EAFNOSUPPORT)]


_ALWAYS = Arg(0, 0, 0, Operator.GREATER_THAN_OR_EQUAL_TO)  # without a condition it would come before all others
