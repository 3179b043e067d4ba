/* What a hostile program asks of the kernel. Each argument is a way in; each runs in a process of its own, which may
 * be killed for it. "REACHED" is said of what should have been out of reach; of the rest, why it was. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HIGH (1UL << 32)
#ifndef __NR_clone3
#define __NR_clone3 435
#endif
enum { OPEN_TREE_NR = 428, MOVE_MOUNT_NR, FSOPEN_NR, FSCONFIG_NR, FSMOUNT_NR, FSPICK_NR, MOUNT_SETATTR_NR = 442 };

static const char *way;

static void said(const char *what, long result) {
    if (result >= 0) printf("REACHED %s by %s\n", what, way);
    else printf("%s by %s: %s\n", what, way, strerror(errno));
    fflush(stdout);
}

static void put(const char *path, const char *text) {
    int file = open(path, O_WRONLY);
    if (file < 0 || write(file, text, strlen(text)) < 0) printf("%s: %s\n", path, strerror(errno));
    close(file);
}

/* A process in new namespaces: 0 in it, with all capabilities there; -1 if there is none to be had. */
static int elsewhere(const char *how, unsigned long kinds) {
    if (!strcmp(how, "unshare")) return syscall(SYS_unshare, kinds);
    long pid;
    if (!strcmp(how, "clone3")) {
        struct clone_args arguments = {.flags = kinds, .exit_signal = SIGCHLD};
        pid = syscall(__NR_clone3, &arguments, sizeof arguments);
    } else {
        pid = syscall(SYS_clone, kinds | SIGCHLD | (!strcmp(how, "clone-high") ? HIGH : 0), 0, 0, 0, 0);
    }
    if (pid > 0) { waitpid(pid, NULL, 0); fflush(stdout); _exit(0); }
    return pid;
}

static void namespaces(void) {
    int uid = getuid(), gid = getgid();
    if (elsewhere(way, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWCGROUP)) {
        said("a user namespace", -1);
        return;
    }
    said("a user namespace", 0);
    char map[64];
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %d 1", uid);
    put("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %d 1", gid);
    put("/proc/self/gid_map", map);
    said("packets", socket(AF_PACKET, SOCK_RAW, 0));
    int filters = socket(AF_NETLINK, SOCK_RAW, 12);   /* NETLINK_NETFILTER: any user may have one; with power here … */
    struct { unsigned length; unsigned short type, flags; unsigned sequence, port; char family, version, zero[2]; }
        get = {20, 10 << 8 | 1, 1, 1, 0, 2, 0, {0}};   /* NFT_MSG_GETTABLE: ENOENT or an answer, but never EPERM */
    char answer[256] = "";
    if (filters >= 0 && send(filters, &get, sizeof get, 0) > 0 && recv(filters, answer, sizeof answer, 0) > 0) {
        errno = -*(int *)(answer + 16);
        said("packet filters", errno == EPERM || errno == EOPNOTSUPP ? -1 : 0);
    }
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    said("a tmpfs", mount("x", "/tmp", "tmpfs", 0, NULL));
    mkdir("/tmp/lower", 0755);
    mkdir("/tmp/upper", 0755);
    mkdir("/tmp/work", 0755);
    said("an overlay", mount("x", "/tmp/lower", "overlay", 0, "lowerdir=/bin,upperdir=/tmp/upper,workdir=/tmp/work"));
    said("a cgroup hierarchy", mount("x", "/tmp/upper", "cgroup2", 0, NULL));
    int context = syscall(FSOPEN_NR, "tmpfs", 0);
    said("fsopen", context);
    said("fsconfig", context < 0 ? -1 : syscall(FSCONFIG_NR, context, 1, "size", "1m", 0));
}

/* Invalid arguments, that nobody looks at before the filter does: what answers otherwise is in reach of exploits. */
static void newer(void) {
    static const struct { const char *name; int number; long first, last; } calls[] = {
        {"open_tree", OPEN_TREE_NR, -1, ~0U}, {"fsconfig", FSCONFIG_NR, -1, 0},
        {"mount_setattr", MOUNT_SETATTR_NR, -1, 0}, {"clone3", __NR_clone3, 0, 0},
        {"bpf", SYS_bpf, -1, 0}, {"userfaultfd", SYS_userfaultfd, -1, 0}, {"io_uring_setup", 425, 0, 0}};
    for (unsigned n = 0; n < sizeof calls / sizeof *calls; n++) {
        long result = syscall(calls[n].number, calls[n].first, "", calls[n].last, 0, 0, 0);
        if (result >= 0 || (errno != EPERM && errno != ENOSYS)) said(calls[n].name, 0);
        else said(calls[n].name, -1);
    }
}

/* The numbers of other tables, on a machine that has several. */
static void tables(void) {
#ifdef __x86_64__
    if (!strcmp(way, "x32")) {
        said("a user namespace", syscall(0x40000000 | SYS_unshare, CLONE_NEWUSER));
    } else {
        int result = 310;   /* unshare of 32-bit programs */
        __asm__ volatile("int $0x80" : "+a"(result) : "b"(CLONE_NEWUSER) : "memory");
        errno = -result;
        said("a user namespace", result < 0 ? -1 : 0);
    }
#endif
}

/* FIOCLEX is harmless, works on whatever is open, and stands for TIOCSTI. */
static void terminal(void) {
    said("the request", syscall(SYS_ioctl, 0, 0x5451UL, 0));
    said("the request, with more bits", syscall(SYS_ioctl, 0, 0x5451UL | HIGH, 0));
    said("the request, with one more bit", syscall(SYS_ioctl, 0, 0x5451UL | HIGH << 31, 0));
}

/* Allowed are AF_INET with SOCK_STREAM, and nothing else. */
static void sockets(void) {
    said("the wrong type", socket(AF_INET, SOCK_DGRAM, 0));
    said("the wrong family", socket(AF_UNIX, SOCK_STREAM, 0));
    said("both wrong", socket(AF_UNIX, SOCK_DGRAM, 0));
    printf("allowed is %s\n", socket(AF_INET, SOCK_STREAM, 0) < 0 ? strerror(errno) : "allowed");
}

/* The words of another's keyring: of the user, or of the session that we came from; "keys:SERIAL" names a key. */
static void keys(void) {
    char text[256] = "";
    long serial = strtol(way + 5, NULL, 10);
    static const int rings[] = {-3, -4, -5};   /* of the session, the user, the user's session: keyrings(7) */
    syscall(SYS_keyctl, 8, -4, -3);            /* KEYCTL_LINK: have the user's keyring in ours */
    for (int n = 0; n < 3; n++) {
        long found = syscall(SYS_keyctl, 10, rings[n], "user", "nscontainer-attacked", 0);   /* KEYCTL_SEARCH */
        said("a key", found);
        if (found >= 0 && syscall(SYS_keyctl, 11, found, text, sizeof text - 1) > 0) printf("%s\n", text);
    }
    if (syscall(SYS_keyctl, 11, serial, text, sizeof text - 1) > 0) printf("REACHED %s\n", text);   /* KEYCTL_READ */
    said("a key of a name", syscall(SYS_request_key, "user", "nscontainer-attacked", NULL, 0));
}

int main(int argc, char **argv) {
    for (int n = 1; n < argc; n++) {
        way = argv[n];
        pid_t pid = fork();
        if (pid == 0) {
            if (!strcmp(way, "newer")) newer();
            else if (!strcmp(way, "x32") || !strcmp(way, "x86")) tables();
            else if (!strcmp(way, "ioctl")) terminal();
            else if (!strcmp(way, "socket")) sockets();
            else if (!strncmp(way, "keys:", 5)) keys();
            else namespaces();
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        if (WIFSIGNALED(status)) printf("%s: killed, %s\n", way, strsignal(WTERMSIG(status)));
    }
    printf("+ended\n");
    return 0;
}
