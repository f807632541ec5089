/* glibc gives blocks of more than 32 MB back to the system as soon as they are free, and asks for them again: a training step
   frees and takes such blocks many times a second, and every page of them is cleared anew. Here freed memory stays with the
   process, and threads share one heap. */
#include <malloc.h>

__attribute__((constructor)) static void keep_freed_memory(void) {
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 2000000000);
    mallopt(M_TOP_PAD, 64 << 20);
    mallopt(M_ARENA_MAX, 1);
}
