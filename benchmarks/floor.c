/* The least a container costs: what a C program pays when it asks the kernel directly and checks nothing.
 *
 *     echo 'ITERATIONS [WORKERS]' | floor ROOTFS
 *
 * Each iteration clones a process into seven new namespaces, makes the OCI default file systems, devices, masked and
 * read-only paths in ROOTFS, brings up the loopback interface, enters the root, runs /bin/true there and waits for
 * its end. Prints the microseconds of each iteration, one per line. With WORKERS, that many processes do so at once,
 * and the only line is the time until the last of them has done its ITERATIONS. Standard input may hold many lines; it
 * is warm then.
 *
 * Mounts are made by path, as mount(2) wants it: right for a trusted image only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define TRY(call) do { if ((call) < 0) { perror(#call); _exit(99); } } while (0)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const unsigned long QUIET = MS_NOSUID | MS_NODEV | MS_NOEXEC;

static const struct { const char *source, *target, *type; unsigned long flags; const char *data; } MOUNTS[] = {
    {"proc",   "proc",       "proc",   0, NULL},
    {"tmpfs",  "dev",        "tmpfs",  MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"},
    {"devpts", "dev/pts",    "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
    {"shm",    "dev/shm",    "tmpfs",  QUIET, "mode=1777,size=65536k"},
    {"mqueue", "dev/mqueue", "mqueue", QUIET, NULL},
    {"sysfs",  "sys",        "sysfs",  QUIET | MS_RDONLY, NULL},
};

static const struct { const char *path; unsigned major, minor; } DEVICES[] = {
    {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
    {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
};

static const struct { const char *target, *path; } LINKS[] = {
    {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
    {"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"},
};

static const char *const READONLY[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

static const char *const MASKED[] = {
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
};

static void make_readonly(const char *path) {
    if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0) {
        if (errno == ENOENT)
            return;
        TRY(-1);
    }
    TRY(mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | QUIET, NULL));
}

static void mask(const char *path) {
    struct stat status;
    if (stat(path, &status) < 0)
        return;
    if (S_ISDIR(status.st_mode))
        TRY(mount("tmpfs", path, "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"));
    else
        TRY(mount("/dev/null", path, NULL, MS_BIND, NULL));
}

static void bring_up_loopback(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    TRY(fd);
    TRY(ioctl(fd, SIOCSIFFLAGS, &request));
    close(fd);
}

static void child(const char *rootfs) {
    char *const args[] = {"/bin/true", NULL}, *const environment[] = {"PATH=/bin", NULL};
    int old;
    TRY(setsid());
    bring_up_loopback();
    TRY(mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL));
    TRY(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL));
    TRY(chdir(rootfs));
    umask(0);
    for (size_t i = 0; i < COUNT(MOUNTS); i++) {
        if (strchr(MOUNTS[i].target, '/'))
            TRY(mkdir(MOUNTS[i].target, 0755));
        TRY(mount(MOUNTS[i].source, MOUNTS[i].target, MOUNTS[i].type, MOUNTS[i].flags, MOUNTS[i].data));
    }
    for (size_t i = 0; i < COUNT(DEVICES); i++)
        TRY(mknod(DEVICES[i].path, S_IFCHR | 0666, makedev(DEVICES[i].major, DEVICES[i].minor)));
    for (size_t i = 0; i < COUNT(LINKS); i++)
        TRY(symlink(LINKS[i].target, LINKS[i].path));
    umask(022);
    TRY(old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    TRY(syscall(SYS_pivot_root, ".", "."));  /* pivot_root(2): the old root is then mounted over the new one */
    TRY(fchdir(old));
    TRY(mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL));
    TRY(umount2(".", MNT_DETACH));
    TRY(chdir("/"));
    TRY(sethostname("benchmark", 9));
    for (size_t i = 0; i < COUNT(READONLY); i++)
        make_readonly(READONLY[i]);
    for (size_t i = 0; i < COUNT(MASKED); i++)
        mask(MASKED[i]);
    execve(args[0], args, environment);
    TRY(-1);
}

static double microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int run_one(const char *rootfs) {
    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
               | CLONE_NEWTIME,
        .exit_signal = SIGCHLD,
    };
    int status;
    long pid = syscall(SYS_clone3, &args, sizeof args);
    TRY(pid);
    if (pid == 0)
        child(rootfs);
    TRY(waitpid(pid, &status, 0));
    return status;
}

static int run(const char *rootfs, int iterations) {
    int status = 0;
    while (iterations-- && !status)
        status = run_one(rootfs);
    return status;
}

static int run_at_once(const char *rootfs, int iterations, int workers) {
    int failed = 0, status;
    for (int worker = 0; worker < workers; worker++) {
        pid_t pid = fork();
        TRY(pid);
        if (pid == 0)
            _exit(run(rootfs, iterations) != 0);
    }
    while (workers--) {
        TRY(wait(&status));
        failed |= status;
    }
    return failed;
}

int main(int argc, char **argv) {
    char line[64];
    if (argc != 2) {
        fprintf(stderr, "usage: echo 'ITERATIONS [WORKERS]' | %s ROOTFS\n", argv[0]);
        return 2;
    }
    while (fgets(line, sizeof line, stdin)) {
        int iterations = 0, workers = 0;
        sscanf(line, "%d %d", &iterations, &workers);
        for (int turn = 0; turn < (workers ? 1 : iterations); turn++) {
            double start = microseconds();
            int failed = workers ? run_at_once(argv[1], iterations, workers) : run(argv[1], 1);
            double end = microseconds();
            if (failed) {
                fprintf(stderr, "a container failed: wait status %#x\n", failed);
                return 1;
            }
            printf("%.1f\n", end - start);
        }
        fflush(stdout);
    }
    return 0;
}
