/* Loaded before the C library (LD_PRELOAD): every fsync and fdatasync costs BENCH_SYNC_US microseconds and nothing else,
   and is counted in the first 8 bytes of the file BENCH_SYNC_COUNT. On a file system in memory this is a disk whose sync
   always takes the same time. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static struct timespec cost;
static _Atomic uint64_t *count;

__attribute__((constructor)) static void prepare(void) {
  const char *microseconds = getenv("BENCH_SYNC_US"), *path = getenv("BENCH_SYNC_COUNT");
  long us = microseconds ? atol(microseconds) : 0;
  cost = (struct timespec){us / 1000000, us % 1000000 * 1000};
  if (!path) return;
  int file = open(path, O_RDWR | O_CREAT, 0600);
  if (file < 0) return;
  if (ftruncate(file, sizeof *count) == 0) {
    void *mapped = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) count = mapped;
  }
  close(file);
}

static int synced(void) {
  if (count) atomic_fetch_add(count, 1);
  if (cost.tv_sec || cost.tv_nsec) nanosleep(&cost, NULL);
  return 0;
}

int fsync(int file) {
  (void)file;
  return synced();
}

int fdatasync(int file) {
  (void)file;
  return synced();
}
