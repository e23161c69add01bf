// Loaded before all other libraries: writes down the calls of a process that make, name, remove or flush files.
// DISK_CALLS_WATCHED names the folder, DISK_CALLS_LOG the log; what is flushed is copied to DISK_CALLS_LOG.<line>.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int number = 0, log_fd = -1;

static void where(int folder, const char *path, char *out) {
    char base[4096] = "";
    if (path && path[0] == '/') { snprintf(out, 8192, "%s", path); return; }
    char link[64];
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, base, sizeof base - 1);
    base[n < 0 ? 0 : n] = 0;
    if (path && path[0]) snprintf(out, 8192, "%s/%s", base, path);
    else snprintf(out, 8192, "%s", base);
}

static void note(const char *what, const char *a, const char *b, int fd) {
    const char *watched = getenv("DISK_CALLS_WATCHED"), *file = getenv("DISK_CALLS_LOG");
    if (!watched || strncmp(a, watched, strlen(watched))) return;
    int saved = errno;
    pthread_mutex_lock(&lock);
    if (log_fd < 0) log_fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    char line[20000];
    int n = snprintf(line, sizeof line, "%s\t%s\t%s\t%d\n", what, a, b, number);
    if (fd >= 0) {
        char from[64], to[4200], block[65536];
        snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
        snprintf(to, sizeof to, "%s.%d", file, number);
        int in = syscall(SYS_openat, AT_FDCWD, from, O_RDONLY, 0);
        int out = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        ssize_t got;
        while (in >= 0 && (got = read(in, block, sizeof block)) > 0) if (write(out, block, got) < 0) break;
        if (in >= 0) close(in);
        if (out >= 0) close(out);
    }
    number++;
    if (write(log_fd, line, n) < 0) abort();
    pthread_mutex_unlock(&lock);
    errno = saved;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int flushed(int fd, int result) {
    char path[8192];
    struct stat found;
    if (result == 0 && fstat(fd, &found) == 0) {
        where(fd, "", path);
        if (S_ISDIR(found.st_mode)) note("flush folder", path, "", -1);
        else note("flush", path, "", fd);
    }
    return result;
}
int fsync(int fd) { REAL(fsync); return flushed(fd, real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); return flushed(fd, real(fd)); }

static int named(const char *what, int da, const char *a, int db, const char *b, int result) {
    char first[8192], second[8192];
    if (result == 0) { where(da, a, first); where(db, b, second); note(what, first, second, -1); }
    return result;
}
int rename(const char *a, const char *b) { REAL(rename); return named("rename", AT_FDCWD, a, AT_FDCWD, b, real(a, b)); }
int renameat(int x, const char *a, int y, const char *b) { REAL(renameat); return named("rename", x, a, y, b, real(x, a, y, b)); }
int renameat2(int x, const char *a, int y, const char *b, unsigned f) { REAL(renameat2); return named("rename", x, a, y, b, real(x, a, y, b, f)); }
int link(const char *a, const char *b) { REAL(link); return named("link", AT_FDCWD, a, AT_FDCWD, b, real(a, b)); }
int linkat(int x, const char *a, int y, const char *b, int f) { REAL(linkat); return named("link", x, a, y, b, real(x, a, y, b, f)); }
int mkdir(const char *a, mode_t m) { REAL(mkdir); return named("mkdir", AT_FDCWD, a, AT_FDCWD, "/", real(a, m)); }
int mkdirat(int x, const char *a, mode_t m) { REAL(mkdirat); return named("mkdir", x, a, AT_FDCWD, "/", real(x, a, m)); }
int unlink(const char *a) { REAL(unlink); return named("remove", AT_FDCWD, a, AT_FDCWD, "/", real(a)); }
int unlinkat(int x, const char *a, int f) { REAL(unlinkat); return named("remove", x, a, AT_FDCWD, "/", real(x, a, f)); }
int rmdir(const char *a) { REAL(rmdir); return named("remove", AT_FDCWD, a, AT_FDCWD, "/", real(a)); }

static int opened(int folder, const char *path, int flags, int fd) {
    char found[8192];
    if (fd >= 0 && (flags & O_CREAT)) { where(folder, path, found); note("open", found, "", -1); }
    return fd;
}
#define MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }
int open(const char *p, int flags, ...) { MODE REAL(open); return opened(AT_FDCWD, p, flags, real(p, flags, mode)); }
int open64(const char *p, int flags, ...) { MODE REAL(open64); return opened(AT_FDCWD, p, flags, real(p, flags, mode)); }
int openat(int d, const char *p, int flags, ...) { MODE REAL(openat); return opened(d, p, flags, real(d, p, flags, mode)); }
int openat64(int d, const char *p, int flags, ...) { MODE REAL(openat64); return opened(d, p, flags, real(d, p, flags, mode)); }
