/*
 * A disk that can be slow, and that remembers what it was told to keep.
 *
 * Loaded into redis-server with LD_PRELOAD, it stands between the server and
 * fdatasync and fsync. Whatever is written lies in the system's memory until one
 * of these returns; if the machine dies before, it may be gone. So of each call
 * this notes two lines in the file that DISK_NOTES names:
 *
 *     begin INODE LENGTH TIME   when it was called, with the file's length just then
 *     end INODE LENGTH TIME     when it has returned; so many bytes are safe now
 *
 * TIME is in nanoseconds since 1970. What is written while the call runs may or
 * may not be kept by it; here it does not count. DISK_DELAY_MS is how much longer
 * a call takes for the files that the server appends to (*.incr.aof).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int notes = -1;

__attribute__((constructor)) static void open_notes(void) {
  const char *path = getenv("DISK_NOTES");
  notes = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (notes < 0) abort();
}

/* One write to a file opened for appending is not torn by other threads, and
 * SIGKILL cannot take back what it wrote. */
static void note(const char *word, const struct stat *file) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  char line[128];
  int length = snprintf(line, sizeof line, "%s %llu %lld %lld%09ld\n", word, (unsigned long long)file->st_ino,
                        (long long)file->st_size, (long long)now.tv_sec, now.tv_nsec);
  if (write(notes, line, length) != length) abort();
}

static int is_appended_to(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path);
  const char *ending = ".incr.aof";
  size_t tail = strlen(ending);
  return length > (ssize_t)tail && memcmp(path + length - tail, ending, tail) == 0;
}

static void delay(void) {
  const char *path = getenv("DISK_DELAY");
  FILE *file = path ? fopen(path, "re") : NULL;
  long ms = 0;
  if (file && fscanf(file, "%ld", &ms) != 1) abort();
  if (file) fclose(file);
  struct timespec left = {ms / 1000, ms % 1000 * 1000000};
  while (ms > 0 && nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

static int keep(const char *name, int fd) {
  int (*call)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  struct stat file;
  if (!call || fstat(fd, &file) != 0) abort();
  if (!S_ISREG(file.st_mode)) return call(fd);
  note("begin", &file);
  if (is_appended_to(fd)) delay();
  int result = call(fd);
  if (result == 0) note("end", &file);
  return result;
}

int fdatasync(int fd) { return keep("fdatasync", fd); }

int fsync(int fd) { return keep("fsync", fd); }
