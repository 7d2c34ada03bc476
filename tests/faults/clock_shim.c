/* A wall clock that can be shifted while its processes run: LD_PRELOAD this with CLOCK_SHIFTS naming a file of 64-bit seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Whose clock stands where in the file. Everybody else keeps the true time. */
static const char *const shifted[] = {"services.scheduler", "services.inference_worker"};
static const volatile long *shift;

__attribute__((constructor)) static void find_shift(void) {
  char words[4096] = {0};
  const char *path = getenv("CLOCK_SHIFTS");
  int cmdline = open("/proc/self/cmdline", O_RDONLY), file = path ? open(path, O_RDONLY) : -1;
  long length = read(cmdline, words, sizeof words - 1);
  for (long i = 0; i < length; i++) words[i] = words[i] ? words[i] : ' ';
  for (int i = 0; file >= 0 && i < 2; i++)
    if (strstr(words, shifted[i])) shift = (const long *)mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0) + i;
  close(cmdline), close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*true_one)(clockid_t, struct timespec *);
  if (!true_one) true_one = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = true_one(clock, now);
  if (shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  static int (*true_one)(struct timeval *, void *);
  if (!true_one) true_one = dlsym(RTLD_NEXT, "gettimeofday");
  int failed = true_one(now, zone);
  if (shift) now->tv_sec += *shift;
  return failed;
}

time_t time(time_t *into) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return into ? (*into = now.tv_sec) : now.tv_sec;
}

/* The kernel's wall clock is not shifted, so waits until a moment of the shifted one have to be brought back. */
long syscall(long number, ...) {
  static long (*true_one)(long, ...);
  if (!true_one) true_one = dlsym(RTLD_NEXT, "syscall");
  long a[6];
  struct timespec until;
  va_list rest;
  va_start(rest, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
  va_end(rest);
  if (shift && number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME) && a[3]) {
    until = *(struct timespec *)a[3];
    until.tv_sec -= *shift;
    a[3] = (long)&until;
  }
  return true_one(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
