/* Nanoseconds per system call under a filter: calls FILTER NUMBER COUNT. An empty file is no filter. */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct sock_filter code[4096];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	FILE *file = argc == 4 ? fopen(argv[1], "rb") : NULL;
	if (!file)
		return 2;
	size_t length = fread(code, sizeof *code, 4096, file);
	long number = atol(argv[2]), count = atol(argv[3]);
	struct sock_fprog program = { length, code };
	if (length && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program))) {
		perror("seccomp");
		return 1;
	}
	double best = 1e18;
	for (int turn = 0; turn < 5; turn++) {
		double start = now();
		for (long i = 0; i < count / 5; i++)
			syscall(number, 0xffffffffL, 0, 0, 0, 0);
		double each = (now() - start) / (count / 5);
		best = each < best ? each : best;
	}
	printf("%.2f\n", best);
	return 0;
}
