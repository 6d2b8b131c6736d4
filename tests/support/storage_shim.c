/* Preloaded into a node and its workers: counts every call that changes a file below STORAGE_ROOT, lets chosen ones
 * fail, and writes all of them down for a replay. One lock over all processes makes it one order.
 *
 * STORAGE_CONTROL names the shared control block (see struct control), STORAGE_JOURNAL, when set, the file of records:
 * a head (see struct record), then the name (and the new name of a rename) or the bytes written.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum op { OP_CREATE = 1, OP_WRITE, OP_TRUNCATE, OP_SYNC, OP_RENAME, OP_UNLINK, OP_RESERVE, OP_LINK };
enum how { HOW_ERROR = 1, HOW_SHORT, HOW_SYNC };

struct control {
    uint32_t lock;
    int32_t how;     /* what happens to the chosen call */
    int32_t error;   /* its errno */
    int32_t reserved;
    uint64_t calls;  /* so far */
    uint64_t fail_at; /* the number of the chosen call, 0 for none */
    uint64_t failed; /* how many were made to fail */
};

struct record {
    uint32_t op;
    uint32_t length; /* of what follows: bytes, or a name */
    uint64_t inode;
    uint64_t at;     /* offset, or size */
    uint32_t second; /* length of a second name that follows */
    uint32_t folder; /* the call was on a folder */
};

static struct control *control;
static int journal = -1;
static char root[PATH_MAX];
static size_t root_length;

#define REAL(name) ((__typeof__(&name))real_of(#name))

static void *real_of(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("STORAGE_ROOT"), *block = getenv("STORAGE_CONTROL"), *log = getenv("STORAGE_JOURNAL");
    if (!path || !block) return;
    strncpy(root, path, sizeof root - 1);
    root_length = strlen(root);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, block, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (shared == MAP_FAILED) return;
    if (log) journal = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CLOEXEC);
    control = shared;
}

static void lock(void) {
    while (__atomic_exchange_n(&control->lock, 1, __ATOMIC_ACQUIRE)) sched_yield();
}

static void unlock(void) { __atomic_store_n(&control->lock, 0, __ATOMIC_RELEASE); }

static int inside(const char *path) {
    return control && path && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int of_descriptor(int fd, struct stat *found, char *name) {
    char link[64];
    int before = errno;
    if (!control || fstat(fd, found) || !(S_ISREG(found->st_mode) || S_ISDIR(found->st_mode))) return errno = before, 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    errno = before;
    if (length < 0) return 0;
    name[length] = 0;
    /* An index that SQLite builds anew from its log is no promise to anybody. */
    return inside(name) && !(length > 4 && !strcmp(name + length - 4, "-shm"));
}

static int absolute(int at, const char *path, char *name) {
    if (!control || !path) return 0;
    if (path[0] == '/') {
        if (snprintf(name, PATH_MAX, "%s", path) >= PATH_MAX) return 0;
    } else {
        char link[64], folder[PATH_MAX];
        ssize_t length;
        if (at == AT_FDCWD) {
            if (!getcwd(folder, sizeof folder)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            if ((length = readlink(link, folder, sizeof folder - 1)) < 0) return 0;
            folder[length] = 0;
        }
        if (snprintf(name, PATH_MAX, "%s/%s", folder, path) >= PATH_MAX) return 0;
    }
    size_t length = strlen(name);
    return inside(name) && !(length > 4 && !strcmp(name + length - 4, "-shm"));
}

/* Counts a call; whether it is the one that fails. Under the lock. */
static int chosen(enum op op) {
    control->calls++;
    if (!control->fail_at || control->calls < control->fail_at) return 0;
    if (control->how == HOW_SHORT && op != OP_WRITE) return 0;
    if (control->how == HOW_SYNC && op != OP_SYNC) return 0;
    control->fail_at = 0;
    control->failed++;
    return 1;
}

static void put(enum op op, uint64_t inode, uint64_t at, int folder, const void *data, size_t length, const char *second) {
    if (journal < 0) return;
    int before = errno;
    struct record head = {op, (uint32_t)length, inode, at, second ? (uint32_t)strlen(second) : 0, (uint32_t)folder};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)data, length}, {(void *)second, head.second}};
    syscall(SYS_writev, journal, parts, second ? 3 : 2);
    errno = before;
}

static ssize_t writing(int fd, const void *data, size_t count, off_t at, int placed) {
    struct stat found;
    char name[PATH_MAX];
    if (!of_descriptor(fd, &found, name)) return placed ? REAL(pwrite)(fd, data, count, at) : REAL(write)(fd, data, count);
    lock();
    if (chosen(OP_WRITE)) {
        if (control->how == HOW_SHORT && count > 1) {
            count /= 2;
        } else {
            int error = control->error;
            unlock();
            return errno = error, -1;
        }
    }
    if (!placed) at = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t done = placed ? REAL(pwrite)(fd, data, count, at) : REAL(write)(fd, data, count);
    if (done > 0) put(OP_WRITE, found.st_ino, (uint64_t)at, 0, data, (size_t)done, NULL);
    unlock();
    return done;
}

ssize_t write(int fd, const void *data, size_t count) { return writing(fd, data, count, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t count, off_t at) { return writing(fd, data, count, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t count, off_t at) { return writing(fd, data, count, at, 1); }

/* Fewer bytes than asked for are a legal answer: the first part alone is written. */
static const struct iovec *first(const struct iovec *parts, int count) {
    while (count > 1 && !parts->iov_len) parts++, count--;
    return parts;
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct stat found;
    char name[PATH_MAX];
    if (!of_descriptor(fd, &found, name)) return REAL(writev)(fd, parts, count);
    parts = first(parts, count);
    return writing(fd, parts->iov_base, parts->iov_len, 0, 0);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    parts = first(parts, count);
    return writing(fd, parts->iov_base, parts->iov_len, at, 1);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) { return pwritev(fd, parts, count, at); }

static int simple(int fd, enum op op, uint64_t at, int (*real)(int, uint64_t)) {
    struct stat found;
    char name[PATH_MAX];
    if (!of_descriptor(fd, &found, name)) return real(fd, at);
    lock();
    if (chosen(op)) {
        int error = control->error;
        unlock();
        return errno = error, -1;
    }
    int done = real(fd, at);
    if (!done) put(op, found.st_ino, at, S_ISDIR(found.st_mode), name, strlen(name), NULL);
    unlock();
    return done;
}

static int real_fsync(int fd, uint64_t at) { return (void)at, REAL(fsync)(fd); }
static int real_fdatasync(int fd, uint64_t at) { return (void)at, REAL(fdatasync)(fd); }
static int real_ftruncate(int fd, uint64_t at) { return REAL(ftruncate)(fd, (off_t)at); }
int fsync(int fd) { return simple(fd, OP_SYNC, 0, real_fsync); }
int fdatasync(int fd) { return simple(fd, OP_SYNC, 0, real_fdatasync); }
int ftruncate(int fd, off_t size) { return simple(fd, OP_TRUNCATE, (uint64_t)size, real_ftruncate); }
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int posix_fallocate(int fd, off_t at, off_t length) {
    struct stat found;
    char name[PATH_MAX];
    if (!of_descriptor(fd, &found, name)) return REAL(posix_fallocate)(fd, at, length);
    lock();
    int done = chosen(OP_RESERVE) ? control->error : REAL(posix_fallocate)(fd, at, length);
    if (!done) put(OP_RESERVE, found.st_ino, (uint64_t)(at + length), 0, name, strlen(name), NULL);
    unlock();
    return done;
}
int posix_fallocate64(int fd, off_t at, off_t length) { return posix_fallocate(fd, at, length); }

int truncate(const char *path, off_t size) {
    char name[PATH_MAX];
    struct stat found;
    if (!absolute(AT_FDCWD, path, name) || stat(name, &found)) return REAL(truncate)(path, size);
    lock();
    if (chosen(OP_TRUNCATE)) {
        int error = control->error;
        unlock();
        return errno = error, -1;
    }
    int done = REAL(truncate)(path, size);
    if (!done) put(OP_TRUNCATE, found.st_ino, (uint64_t)size, 0, name, strlen(name), NULL);
    unlock();
    return done;
}
int truncate64(const char *path, off_t size) { return truncate(path, size); }

static int opening(int at, const char *path, int flags, mode_t mode) {
    char name[PATH_MAX];
    struct stat found;
    int nameless = (flags & O_TMPFILE) == O_TMPFILE;
    if (!(nameless || flags & (O_CREAT | O_TRUNC)) || !absolute(at, path, name)) return REAL(openat)(at, path, flags, mode);
    lock();
    int there = !nameless && !stat(name, &found);
    if (there && !(flags & O_TRUNC)) {
        unlock();
        return REAL(openat)(at, path, flags, mode);
    }
    if (chosen(there ? OP_TRUNCATE : OP_CREATE)) {
        int error = control->error;
        unlock();
        return errno = error, -1;
    }
    int fd = REAL(openat)(at, path, flags, mode);
    if (fd >= 0 && !fstat(fd, &found))
        put(there ? OP_TRUNCATE : OP_CREATE, found.st_ino, 0, 0, name, nameless ? 0 : strlen(name), NULL);
    unlock();
    return fd;
}

#define WITH_MODE                                  \
    mode_t mode = 0;                               \
    if (flags & (O_CREAT | __O_TMPFILE)) {         \
        va_list more;                              \
        va_start(more, flags);                     \
        mode = (mode_t)va_arg(more, int);          \
        va_end(more);                              \
    }
int open(const char *path, int flags, ...) { WITH_MODE return opening(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { WITH_MODE return opening(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { WITH_MODE return opening(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { WITH_MODE return opening(at, path, flags, mode); }

static int naming(enum op op, int from_at, const char *from, int to_at, const char *to, int (*real)(int, const char *, int, const char *)) {
    char old[PATH_MAX], new[PATH_MAX];
    struct stat found;
    if (!absolute(from_at, from, old) || (to && !absolute(to_at, to, new)) || lstat(old, &found)) return real(from_at, from, to_at, to);
    lock();
    if (chosen(op)) {
        int error = control->error;
        unlock();
        return errno = error, -1;
    }
    int done = real(from_at, from, to_at, to);
    if (!done) put(op, found.st_ino, 0, 0, old, strlen(old), to ? new : NULL);
    unlock();
    return done;
}

static int real_rename(int a, const char *from, int b, const char *to) { return REAL(renameat)(a, from, b, to); }
static int real_unlink(int a, const char *path, int b, const char *to) { return (void)b, (void)to, REAL(unlinkat)(a, path, 0); }
int rename(const char *from, const char *to) { return naming(OP_RENAME, AT_FDCWD, from, AT_FDCWD, to, real_rename); }
int renameat(int a, const char *from, int b, const char *to) { return naming(OP_RENAME, a, from, b, to, real_rename); }
/* Recorded by the new name alone: the file may have had none. */
int linkat(int a, const char *from, int b, const char *to, int flags) {
    char name[PATH_MAX];
    struct stat found;
    if (!absolute(b, to, name) || fstatat(a, from, &found, flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW))
        return REAL(linkat)(a, from, b, to, flags);
    lock();
    if (chosen(OP_LINK)) {
        int error = control->error;
        unlock();
        return errno = error, -1;
    }
    int done = REAL(linkat)(a, from, b, to, flags);
    if (!done) put(OP_LINK, found.st_ino, 0, 0, name, strlen(name), NULL);
    unlock();
    return done;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int unlink(const char *path) { return naming(OP_UNLINK, AT_FDCWD, path, 0, NULL, real_unlink); }
int unlinkat(int at, const char *path, int flags) {
    if (flags) return REAL(unlinkat)(at, path, flags);
    return naming(OP_UNLINK, at, path, 0, NULL, real_unlink);
}
