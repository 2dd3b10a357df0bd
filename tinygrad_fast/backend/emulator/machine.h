// What the parts of the emulated machine share: its threads, and what a kernel may ask of it.
//     cuda.h         CUDA's words, as a kernel sees them
//     machine.cpp    clusters, blocks, threads, barriers, warps
//     matrices.cpp   what a warp does with matrices: ldmatrix, mma
//     hopper.cpp     barriers in shared memory, copies of boxes, products of a warpgroup
//     checker.cpp    the checking mode: which thread touched which byte, and when
//     tracer.cpp     what some threads did, for people to read
//
// A kernel may call its own things as it likes: all of this stands in a namespace, or begins with `emulator_`.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct dim3 { unsigned x, y, z; };

namespace emulator {

struct Where { const char* file; int line; const char* word; };  // the word of CUDA's that stands there

enum State { READY, AT_WARP, AT_PHASE, AT_CLUSTER, AT_BARRIER, DONE };

// What a warp can do together. A lane that meets one of these leaves pointers to its registers and gives way.
enum Meeting {
  SYNC, SHUFFLE, VOTE,
  LDMATRIX, LDMATRIX_TRANS, MMA_F16, MMA_BF16, MMA_TF32,       // from here on by all 32 lanes
  WGMMA_F16, WGMMA_BF16, WGMMA_FENCE, WGMMA_COMMIT, WGMMA_WAIT
};

// One of the blocks that run together: a cluster, which most kernels have of one.
struct Block {
  dim3 index;             // blockIdx
  unsigned char* shared;  // dynamic shared memory
  int rank;               // which of its cluster
  int live, at_barrier;   // threads that have not ended; that wait at __syncthreads
};

struct Thread {
  void* stack;         // where it left off
  dim3 index;          // threadIdx
  Block* block;
  unsigned arrived;    // at which phase of its cluster's barrier, from 1 on, and has not waited since; 0: at none
  State state;
  Where where;         // what it waits in
  Meeting meeting;     // with whom, and for what
  unsigned mask;
  const void* give;    // the registers that others may read; LDMATRIX: a row in shared memory
  void* take;          // the registers that are written for it
  int from, size;      // SHUFFLE: the lane to read, and bytes
  const void* phase;   // AT_PHASE: of which barrier
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
  dim3 owner;          // the block whose shared memory it is
  dim3 other, other_block;  // the thread on the other side of a race, or at another barrier
  Where also;          // where that waits, or its copy on its way
};

}  // namespace emulator

extern "C" {
extern emulator::Thread* emulator_thread;  // the one that runs
extern dim3 emulator_block_dim, emulator_grid_dim;
extern emulator::Fault emulator_fault;

void emulator_barrier(emulator::Where);
void emulator_meet(emulator::Meeting, unsigned mask, const void* give, void* take, int from, int size, emulator::Where);
void emulator_atomic(void* p, int size);  // before an atomic operation
void emulator_read(const void* p, int size);  // before a read that the compiler does not see
void emulator_write(void* p, int size);
// cp.async, its groups, and their end
void emulator_copy(void* to, const void* from, int size, bool inside, emulator::Where);
void emulator_commit();
void emulator_wait(int groups);
// mbarrier, and bulk copies to one
void emulator_barrier_init(void* barrier, int arrivals, emulator::Where);
void emulator_barrier_fence();
void emulator_barrier_arrive(void* barrier, int bytes, emulator::Where);
void emulator_remote_arrive(void* barrier, int rank, emulator::Where);
void emulator_barrier_wait(void* barrier, int parity, emulator::Where);
void emulator_proxy_fence();
void emulator_box(void* to, const void* map, void* barrier, int i, int j, int b, unsigned blocks, emulator::Where);
void emulator_cluster_arrive(emulator::Where);
void emulator_cluster_wait(emulator::Where);
void emulator_move(void* to, const void* from, int size);  // the memory of one: in no unit that is watched
void emulator_launch(void (*kernel)(void*), void* arguments, dim3 grid, dim3 block, int shared, int cluster);
}

namespace emulator {

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

// A tensor map, as this machine writes it (TensorMap of hopper.cuh; filled in by __init__.py). Axes from the inside out.
struct Boxes {
  uint64_t array, size[3], stride[2];  // strides in bytes; the first axis has none
  uint32_t box[3], element, swizzle;   // extents of a box; bytes of an element; rows of 32, 64, 128 bytes: 1, 2, 3
};

// What each lane brings to a product: sums (64 x columns) += a (64 x 16) b (16 x columns).
struct Operands { uint64_t a, b; int columns, a_along_k, b_along_k, more; };

// Between machine.cpp and the others
const int MOST_SHARED = 228 << 10;  // bytes of a block's shared memory; a launch may ask for 227 KB
const int MOST_CLUSTER = 2;       // blocks of a cluster
const int MOST_WARPS = 32;        // of a block
int thread_number();              // of the running thread in its block
int warp_number();                // of its warp: those of the second block of its cluster begin at MOST_WARPS
int thread_count();               // of a block
int cluster_size();
Block& block_at(int rank);
void* there(const void* p, int rank);  // the same place in the shared memory of another block of the cluster
[[noreturn]] void stop(Fault);    // end the launch; names block and thread
void check_launch(int shared);    // a launch, a cluster, a barrier, __syncwarp: what orders accesses in time
void check_cluster();
void check_barrier();
void check_warp(int warp);
void check_departure(const Copy&);  // the bytes of a copy are nobody's until it has landed
void check_landing(const Copy&);
Where where_copied(int thread, uintptr_t at);  // the copy on its way that will write a byte; 1024 threads a block
void matrices(Meeting, Thread* lanes);  // ldmatrix and mma, by the 32 lanes of a warp
void warpgroup(Meeting, Thread* lanes);  // wgmma
void wait_for_phase(const void* barrier, Where);
void wake(const void* barrier);         // those who wait for a phase of it
void forget_phases();                   // of the cluster before
bool land();                            // the oldest copy of a box; false if there is none
Where where_boxed(uintptr_t at);        // the copy of a box that will write a byte
void check_landed();                    // at the end of a block: all that are copied to it
bool has_fixed();                       // whether there are `__shared__` arrays

// Of the checker: what orders accesses beside __syncthreads, and accesses that no thread makes
void check_barrier_init(int barrier);
void check_release(int barrier);        // what my warp has done is before the end of the phase,
void check_phase(int barrier);
void check_acquire(int barrier);        // which is before what my warp does now
void check_cluster_arrive();            // the same for the barrier of a cluster
void check_cluster_phase();
void check_cluster_wait();
void check_reach(int rank, Where);      // into the shared memory of another block,
void check_end();                       // which must not have ended
void check_box_departure(const void* to, int bytes, Where);
void check_read(const void* from, int bytes, Where);  // that no thread makes, or that the compiler does not see
void check_shown();                     // what this thread has written so far, products may read
void check_box_landing(const void* to, int bytes, int barrier);
void check_multiplied(const void* p, Where);  // 16 bytes of shared memory, read by a product of my warp

// Between those and tracer.cpp
enum Traced { TRACED_READ, TRACED_WRITE, TRACED_ATOMIC, TRACED_MEETING };
void trace_access(Traced, const void* p, int bytes, int space, long long offset, const void* code);
long long trace_arrival(const void* give, int bytes, Where);  // at a barrier, or to meet a warp
void trace_departure(long long arrival, const void* take, int bytes);
void trace_settle();              // memory is about to change behind the kernel's back

}  // namespace emulator
