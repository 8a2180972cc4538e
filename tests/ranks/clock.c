/* Preloaded into a process: what it is told of the time of day is wrong by CLOCK_OFFSET seconds.

Clocks that only measure how long something takes are left alone, as they are where a machine's date is wrong. Where a
process waits until a time of day, it took that time from us, so it is turned back before the kernel sees it.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define YEARS 1000000000 /* seconds: a time of day has more of them, the time since a machine was started has fewer */

static long offset(void) {
    const char *text = getenv("CLOCK_OFFSET");
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *told) {
    int failed = (int)syscall(SYS_clock_gettime, clock, told);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) told->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *told, void *zone) {
    int failed = (int)syscall(SYS_gettimeofday, told, zone);
    if (!failed) told->tv_sec += offset();
    return failed;
}

time_t time(time_t *told) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told) *told = now.tv_sec;
    return now.tv_sec;
}

static struct timespec true_time(const struct timespec *until) {
    struct timespec turned = *until;
    if (turned.tv_sec > YEARS) turned.tv_sec -= offset();
    return turned;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec turned = true_time(until);
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return real(condition, mutex, &turned);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    static int (*real)(sem_t *, const struct timespec *);
    struct timespec turned = true_time(until);
    if (!real) real = dlsym(RTLD_NEXT, "sem_timedwait");
    return real(semaphore, &turned);
}
