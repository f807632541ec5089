/* What must be settled before any library starts. */
#include <malloc.h>
#include <stdlib.h>

/* glibc gives blocks of more than 32 MB back to the system as soon as they are free, and asks for them again: a training step
   frees and takes such blocks many times a second, and every page of them is cleared anew. Here freed memory stays with the
   process, and threads share one heap. */
__attribute__((constructor)) static void keep_freed_memory(void) {
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 2000000000);
    mallopt(M_TOP_PAD, 64 << 20);
    mallopt(M_ARENA_MAX, 1);
}

/* A thread of libgomp that has nothing to do turns in a loop for some milliseconds, and takes the processor from the threads
   that compute here or in another step. It reads the environment as it is loaded, which is before any constructor of ours;
   only this section's functions run earlier. Who sets one of the two variables keeps it. */
static void let_idle_threads_sleep(void) {
    if (!getenv("OMP_WAIT_POLICY")) {
        setenv("GOMP_SPINCOUNT", "0", 0);
    }
}

__attribute__((section(".preinit_array"), used)) static void (*const before_libraries)(void) = let_idle_threads_sleep;
