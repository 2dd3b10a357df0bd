// What the parts of the emulated machine share: its threads, and what a kernel may ask of it.
//     cuda.h         CUDA's words, as a kernel sees them
//     machine.cpp    blocks, threads, barriers, warps
//     matrices.cpp   what a warp does with matrices: ldmatrix, mma
//     checker.cpp    the checking mode: which thread touched which byte, and when
//     tracer.cpp     what some threads did, for people to read
#pragma once
#include <stddef.h>
#include <stdint.h>

struct dim3 { unsigned x, y, z; };

struct Where { const char* file; int line; const char* word; };  // the word of CUDA's that stands there

enum State { READY, AT_WARP, AT_BARRIER, DONE };

// What a warp can do together. A lane that meets one of these leaves pointers to its registers and gives way.
enum Meeting { SYNC, SHUFFLE, VOTE, LDMATRIX, LDMATRIX_TRANS, MMA_F16, MMA_BF16, MMA_TF32 };

struct Thread {
  void* stack;         // where it left off
  dim3 index;          // threadIdx
  State state;
  Where where;         // what it waits in
  Meeting meeting;     // with whom, and for what
  unsigned mask;
  const void* give;    // the registers that others may read; LDMATRIX: a row in shared memory
  void* take;          // the registers that are written for it
  int from, size;      // SHUFFLE: the lane to read, and bytes
};

// A fault found while a kernel ran; `what` is null while there is none. Read from Python: see __init__.py.
struct Fault {
  const char* what;
  Where where;         // where the thread waited, if it waited
  long long code;      // the instruction, if it touched memory: bytes from the start of the library
  dim3 block, thread;
  int space;           // 0 none, 1 global, 2 `__shared__` arrays, 3 shared memory of the launch
  long long offset;    // from the start of that memory
  int bytes;
  dim3 other;          // the thread on the other side of a race, or at another barrier
  Where also;          // where that waits, or its copy on its way
};

extern "C" {
extern Thread* emulator_thread;  // the one that runs
extern dim3 emulator_block, emulator_block_dim, emulator_grid_dim;
extern unsigned char* emulator_shared;  // dynamic shared memory
extern Fault emulator_fault;

void emulator_barrier(Where);
void emulator_meet(Meeting, unsigned mask, const void* give, void* take, int from, int size, Where);
void emulator_atomic(void* p, int size);  // before an atomic operation
void emulator_read(const void* p, int size);  // before a read that the compiler does not see
void emulator_copy(void* to, const void* from, int size, bool inside, Where);  // cp.async, its groups, and their end
void emulator_commit();
void emulator_wait(int groups);
void emulator_move(void* to, const void* from, int size);  // the memory of one: in no unit that is watched
void emulator_launch(void (*kernel)(void*), void* arguments, dim3 grid, dim3 block, int shared);
}

// A copy on its way: asked for, not yet done.
struct Copy {
  void* to;
  const void* from;
  int size;
  bool inside;     // else zeros
  unsigned group;  // commits before it
  Where where;
  const void* code;  // the instruction that asked
};

// Between machine.cpp and the others
const int MOST_SHARED = 228 << 10;  // bytes behind emulator_shared; a launch may ask for 227 KB
int thread_number();              // of the running thread in its block
[[noreturn]] void stop(Fault);    // end the launch; names block and thread
void check_launch(int shared);    // a launch, a block, a barrier, __syncwarp: what orders accesses in time
void check_block();
void check_barrier();
void check_warp(int warp);
void check_departure(const Copy&);  // the bytes of a copy are nobody's until it has landed
void check_landing(const Copy&);
Where where_copied(int thread, uintptr_t at);  // the copy on its way that will write a byte
void matrices(Meeting, Thread* lanes);  // ldmatrix and mma, by the 32 lanes of a warp

// Between those and tracer.cpp
enum Traced { TRACED_READ, TRACED_WRITE, TRACED_ATOMIC, TRACED_MEETING };
void trace_access(Traced, const void* p, int bytes, int space, long long offset, const void* code);
long long trace_arrival(const void* give, int bytes, Where);  // at a barrier, or to meet a warp
void trace_departure(long long arrival, const void* take, int bytes);
void trace_settle();              // memory is about to change behind the kernel's back
