/* The least it costs to run a program in a running container: setns(2), fork(2), execve(2).
 *
 *     echo ITERATIONS | enter PID
 *
 * Each iteration forks a process that joins all namespaces of process PID, save the user namespace, through one pidfd,
 * and forks again, for only a child is in the joined pid namespace: pid_namespaces(7). That one runs /bin/true; both
 * are waited for. Prints the microseconds of each iteration, one per line; standard input may hold many lines. Needs
 * Linux 5.8.
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define TRY(call) do { if ((call) < 0) { perror(#call); _exit(99); } } while (0)

static double microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int wait_for(pid_t pid) {
    int status;
    TRY(waitpid(pid, &status, 0));
    return status;
}

static void join(pid_t target) {
    char *const args[] = {"/bin/true", NULL}, *const environment[] = {"PATH=/bin", NULL};
    int pidfd = syscall(SYS_pidfd_open, target, 0);
    TRY(pidfd);  /* close-on-exec by birth */
    TRY(setns(pidfd, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
                     | CLONE_NEWTIME));
    pid_t pid = fork();
    TRY(pid);
    if (pid == 0) {
        execve(args[0], args, environment);
        TRY(-1);
    }
    _exit(wait_for(pid) != 0);
}

int main(int argc, char **argv) {
    char line[64];
    int target = argc == 2 ? atoi(argv[1]) : 0;
    if (target < 1) {
        fprintf(stderr, "usage: echo ITERATIONS | %s PID\n", argv[0]);
        return 2;
    }
    while (fgets(line, sizeof line, stdin)) {
        for (int iterations = atoi(line); iterations > 0; iterations--) {
            double start = microseconds();
            pid_t pid = fork();
            TRY(pid);
            if (pid == 0)
                join(target);
            int failed = wait_for(pid);
            double end = microseconds();
            if (failed) {
                fprintf(stderr, "the program in the container failed: wait status %#x\n", failed);
                return 1;
            }
            printf("%.1f\n", end - start);
        }
        fflush(stdout);
    }
    return 0;
}
