// The emulated machine: one block at a time, every CUDA thread a fiber with a stack of its own. The blocks of a cluster
// run together, their threads taking turns as if they were one block's.
//
// A thread runs until it must wait: at a barrier, or for the other lanes of its warp. Then it gives way to the next
// that can run, which is a change of stacks, ten instructions. Nothing runs at the same time, so an atomic operation
// is an ordinary one. What a warp does together is done by the last lane to come, through the pointers to registers
// that the others left: one change of stacks a lane, and no second barrier.
#include "machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <initializer_list>

using namespace emulator;

static const int MOST_THREADS = 1024, WARP = 32, ALL = MOST_CLUSTER * MOST_THREADS;
static const size_t STACK = 256 << 10;  // reserved, not used: pages come when they are touched

struct Warp { unsigned live, waiting; };  // a bit for each lane

static Block blocks[MOST_CLUSTER];
static Thread threads[ALL];  // of the second block from MOST_THREADS on
static Warp warps[ALL / WARP];
static int count, cluster;   // threads of a block, blocks of a cluster
static char* stacks;
static void* home;        // the stack of whoever launched
static bool parked;       // the fibers stand at the end of `life`, ready for the next block
static void (*kernel)(void*);
static void* arguments;

extern "C" {
Thread* emulator_thread;
dim3 emulator_block_dim, emulator_grid_dim;
Fault emulator_fault;
}

// ---- Changing stacks: save what a function must preserve, take the other stack, restore, return there --------------

static void life();

#if defined(__x86_64__)
extern "C" void change_stacks(void** save, void* next) __asm__("emulator_change_stacks");
__asm__(
    ".text\n"
    "emulator_change_stacks:\n"
    "  push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "  mov %rsp, (%rdi)\n"
    "  mov %rsi, %rsp\n"
    "  pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
    "  ret\n");
static void* prepared(void** top) {  // six registers, where `ret` goes, and the slot that keeps calls aligned
  top[-2] = (void*)life;
  return top - 8;
}
#elif defined(__aarch64__)
extern "C" void change_stacks(void** save, void* next) __asm__("emulator_change_stacks");
__asm__(
    ".text\n"
    ".p2align 2\n"
    "emulator_change_stacks:\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp]\n      stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n  stp x25, x26, [sp, #48]\n"
    "  stp x27, x28, [sp, #64]\n stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n   stp d10, d11, [sp, #112]\n stp d12, d13, [sp, #128]\n stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n"
    "  str x9, [x0]\n"
    "  mov sp, x1\n"
    "  ldp x19, x20, [sp]\n      ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n  ldp x25, x26, [sp, #48]\n"
    "  ldp x27, x28, [sp, #64]\n ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n   ldp d10, d11, [sp, #112]\n ldp d12, d13, [sp, #128]\n ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n"
    "  ret\n");
static void* prepared(void** top) {
  top[-20 + 11] = (void*)life;  // x30
  return top - 20;
}
#else  // anywhere else: the C library's, fifty times slower because each change asks the system about signals
#include <ucontext.h>
static ucontext_t contexts[ALL + 1];
static void change_stacks(void** save, void* next) {
  *save = &contexts[save == &home ? ALL : (Thread*)((char*)save - offsetof(Thread, stack)) - threads];
  swapcontext((ucontext_t*)*save, (ucontext_t*)next);
}
static void* prepared(void** top) {
  int i = (int)(((char*)top - stacks - 1) / STACK);
  getcontext(&contexts[i]);
  contexts[i].uc_stack.ss_sp = stacks + i * STACK;
  contexts[i].uc_stack.ss_size = (char*)top - (stacks + i * STACK);
  makecontext(&contexts[i], life, 0);
  return &contexts[i];
}
#endif

static Thread* first(const Block& b) { return threads + b.rank * MOST_THREADS; }

// The thread whose turn is next.
static Thread* after(Thread* t) {
  if ((t - threads) % MOST_THREADS + 1 < count) return t + 1;
  return first(blocks[(t->block->rank + 1) % cluster]);
}

static void prepare() {
  for (int r = 0; r < cluster; r++)
    for (int i = r * MOST_THREADS; i < r * MOST_THREADS + count; i++) {
      char* top = stacks + (i + 1) * STACK - i * 320 % 4096 / 64 * 64;  // staggered, or all of them would fall into
      memset(top - 256, 0, 256);                                        // one set of the cache
      threads[i].stack = prepared((void**)top);
    }
  parked = true;
}

static void run(Thread* next) {
  Thread* me = emulator_thread;
  emulator_thread = next;
  change_stacks(&me->stack, next->stack);
}

static void leave() { change_stacks(&emulator_thread->stack, home); }

int emulator::thread_number() { return (int)(emulator_thread - threads) % MOST_THREADS; }
int emulator::warp_number() { return (int)(emulator_thread - threads) / WARP; }
int emulator::thread_count() { return count; }
int emulator::cluster_size() { return cluster; }
Block& emulator::block_at(int rank) { return blocks[rank]; }
void* emulator::there(const void* p, int rank) {
  return blocks[rank].shared + ((const unsigned char*)p - emulator_thread->block->shared);
}

void emulator::stop(Fault fault) {
  fault.block = emulator_thread->block->index;
  fault.thread = emulator_thread->index;
  emulator_fault = fault;
  parked = false;
  leave();
  __builtin_unreachable();
}

// ---- Waiting -------------------------------------------------------------------------------------------------------

// Whether a lane that waits for its warp does so because another lane waits for a phase.
static bool held_up(const Thread* t) {
  int warp = (int)(t - threads) / WARP;
  unsigned missing = t->mask & warps[warp].live & ~warps[warp].waiting;
  for (int i = 0; i < WARP; i++)
    if (missing >> i & 1 && threads[warp * WARP + i].state == AT_PHASE) return true;
  return false;
}

static Thread* waits(State state) {
  Thread* t = threads;
  do {
    if (t->state == state && !(state == AT_WARP && held_up(t))) return t;
  } while ((t = after(t)) != threads);
  return nullptr;
}

// To the next thread that can run. If there is none, all have ended, or those that wait do so in vain.
static void give_way() {
  Thread* next = emulator_thread;
  do {
    for (int i = 0; i < count * cluster; i++) {
      next = after(next);
      if (next->state == READY) return run(next);
    }
  } while (waits(AT_PHASE) && land());  // nobody can go on before a copy has landed
  for (State state : {AT_WARP, AT_PHASE, AT_BARRIER}) {  // a warp first: the block may wait for it; or the cluster
    if (!(next = waits(state))) continue;
    emulator_thread = next;
    stop({state == AT_WARP    ? "waits for lanes of its warp that never come"
          : state == AT_PHASE ? "waits for a phase of its barrier that never ends"
                              : "waits at __syncthreads, which other threads of its block never reach",
          next->where});
  }
  leave();
}

void emulator::wait_for_phase(const void* barrier, Where where) {
  emulator_thread->where = where;
  emulator_thread->phase = barrier;
  emulator_thread->state = AT_PHASE;
  give_way();
}

void emulator::wake(const void* barrier) {
  Thread* t = threads;
  do {
    if (t->state == AT_PHASE && t->phase == barrier) t->state = READY;
  } while ((t = after(t)) != threads);
}

void emulator_barrier(Where where) {
  emulator_thread->where = where;
  trace_arrival(nullptr, 0, where);
  Block& block = *emulator_thread->block;
  if (++block.at_barrier < count) {
    emulator_thread->state = AT_BARRIER;
    give_way();
    return;
  }
  block.at_barrier = 0;
  Thread* one = first(block);
  for (Thread* other = one; other < one + count; other++) {
    if (other->where.line != one->where.line || strcmp(other->where.file, one->where.file)) {
      emulator_thread = one;
      Fault f = {"waits at another __syncthreads than", one->where};
      f.other = other->index, f.also = other->where;
      stop(f);
    }
    other->state = READY;
  }
  check_barrier();
}

// The barrier of a cluster: who has arrived may do something else before it waits. Threads that have ended are not
// waited for.
static struct { int missing; unsigned phases; } of_cluster;  // threads that have not arrived; phases that have ended

static void end_cluster_phase() {
  if (of_cluster.missing) return;
  of_cluster.phases++;
  check_cluster_phase();
  Thread* t = threads;
  do {
    of_cluster.missing += t->state != DONE;
    if (t->state == AT_CLUSTER) t->state = READY;
  } while ((t = after(t)) != threads);
}

void emulator_cluster_arrive(Where where) {
  if (emulator_thread->arrived) stop({"arrives at its cluster's barrier again without having waited", where});
  emulator_thread->arrived = of_cluster.phases + 1;
  check_cluster_arrive();
  of_cluster.missing--;
  end_cluster_phase();
}

void emulator_cluster_wait(Where where) {
  Thread* me = emulator_thread;
  if (!me->arrived) stop({"waits for its cluster without having arrived at its barrier", where});
  if (of_cluster.phases < me->arrived) {
    me->where = where;
    me->state = AT_CLUSTER;
    give_way();
  }
  me->arrived = 0;
  check_cluster_wait();
}

static void together(int warp, unsigned lanes, Meeting meeting) {
  Thread* lane = threads + warp * WARP;
  unsigned votes = 0;
  if (meeting >= LDMATRIX) {
    if (lanes != ~0u) {
      emulator_thread = lane + __builtin_ctz(lanes);
      stop({"needs all 32 lanes of its warp", emulator_thread->where});
    }
    meeting < WGMMA_F16 ? matrices(meeting, lane) : warpgroup(meeting, lane);
  }
  for (int i = 0; i < WARP; i++) {
    if (!(lanes >> i & 1)) continue;
    if (meeting == VOTE) votes |= (unsigned)(*(const int*)lane[i].give != 0) << i;
    if (meeting == SHUFFLE) {
      if (!(lanes >> lane[i].from & 1)) {
        emulator_thread = lane + i;
        stop({"shuffles from a lane that takes no part", lane[i].where});
      }
      memcpy(lane[i].take, lane[lane[i].from].give, lane[i].size);
    }
  }
  for (int i = 0; i < WARP; i++) {
    if (!(lanes >> i & 1)) continue;
    if (meeting == VOTE) *(unsigned*)lane[i].take = votes;
    lane[i].state = READY;
  }
  if (meeting == SYNC) check_warp(warp);
  warps[warp].waiting &= ~lanes;
}

// If all lanes that `lane` waits for have come, do what they came for.
static bool completed(int warp, Thread* lane) {
  unsigned expected = lane->mask & warps[warp].live;
  if ((warps[warp].waiting & expected) != expected) return false;
  for (int i = 0; i < WARP; i++) {
    Thread* other = threads + warp * WARP + i;
    if ((expected >> i & 1) && (other->meeting != lane->meeting || other->mask != lane->mask))
      stop({"meets the lanes of its warp in different collectives, or under different masks", lane->where});
  }
  together(warp, expected, lane->meeting);
  return true;
}

void emulator_meet(Meeting meeting, unsigned mask, const void* give, void* take, int from, int size, Where where) {
  int number = thread_number(), warp = warp_number();
  Thread* me = emulator_thread;
  *me = {me->stack, me->index, me->block, me->arrived, AT_WARP, where, meeting, mask, give, take, from, size, nullptr};
  if (!(mask >> number % WARP & 1)) stop({"is not in the mask of its own warp collective", where});
  warps[warp].waiting |= 1u << number % WARP;
  int bytes = meeting == VOTE ? (int)sizeof(int) : size;
  long long arrival = trace_arrival(give, bytes, where);
  if (!completed(warp, me)) give_way();
  trace_departure(arrival, take, bytes);
}

// ---- Copies that nobody waits for: each thread has a queue, and they are done when it waits ------------------------

struct Queue { Copy* copies; int room, first, end; unsigned commits; };
static Queue queues[ALL];

static Queue& my_queue() { return queues[emulator_thread - threads]; }

// Nothing is copied here: whoever relies on a copy that was not waited for gets what was there before.
void emulator_copy(void* to, const void* from, int size, bool inside, Where where) {
  if ((uintptr_t)to % size || (inside && (uintptr_t)from % size))
    stop({"copies to or from what is not aligned", where});
  Queue& q = my_queue();
  if (q.end == q.room) q.copies = (Copy*)realloc(q.copies, (q.room = 2 * q.room + 16) * sizeof(Copy));
  q.copies[q.end] = {to, from, size, inside, q.commits, where, __builtin_return_address(0)};
  check_departure(q.copies[q.end++]);
}

void emulator_commit() { my_queue().commits++; }

void emulator_wait(int groups) {
  Queue& q = my_queue();
  for (; q.first < q.end && (int)(q.commits - q.copies[q.first].group) > groups; q.first++) {
    const Copy& copy = q.copies[q.first];
    check_landing(copy);
    copy.inside ? memcpy(copy.to, copy.from, copy.size) : memset(copy.to, 0, copy.size);
  }
  if (q.first == q.end) q.first = q.end = 0;
}

Where emulator::where_copied(int thread, uintptr_t at) {
  const Queue& q = queues[thread];
  for (int i = q.end; i-- > q.first;)
    if (at - (uintptr_t)q.copies[i].to < (size_t)q.copies[i].size) return q.copies[i].where;
  return {};
}

// ---- A launch ------------------------------------------------------------------------------------------------------

static void life() {
  for (;;) {
    kernel(arguments);
    int number = thread_number(), warp = warp_number();
    Thread* me = emulator_thread;
    me->state = DONE;
    warps[warp].live &= ~(1u << number % WARP);
    for (int i = 0; i < WARP; i++)  // others may have waited for this lane alone
      if (warps[warp].waiting >> i & 1) completed(warp, threads + warp * WARP + i);
    if (me->arrived <= of_cluster.phases) {  // and the cluster for this thread
      of_cluster.missing--;
      end_cluster_phase();
    }
    if (--me->block->live == 0) check_landed(), check_end();
    give_way();
  }
}

// One cluster, from this block on.
static void run_cluster(dim3 at) {
  dim3 n = emulator_block_dim;
  for (int r = 0; r < cluster; r++, at.x++) {
    blocks[r].index = at, blocks[r].live = count, blocks[r].at_barrier = 0;
    Thread* t = first(blocks[r]);
    for (unsigned i = 0; i < (unsigned)count; i++) {
      t[i].index = {i % n.x, i / n.x % n.y, i / (n.x * n.y)};
      t[i].block = &blocks[r], t[i].arrived = 0, t[i].state = READY;
      queues[t + i - threads].first = queues[t + i - threads].end = 0;
    }
    for (int i = 0; i < count; i += WARP)
      warps[r * MOST_WARPS + i / WARP] = {count - i < WARP ? (1u << (count - i)) - 1 : ~0u, 0};
  }
  of_cluster = {cluster * count, 0};
  check_cluster();
  forget_phases();
  emulator_thread = threads;
  change_stacks(&home, threads->stack);
  emulator_thread = nullptr;
}

static const char* refused(dim3 grid, int n, int shared, int blocks) {
  if (n < 1 || n > MOST_THREADS) return "a block must have 1 to 1024 threads";
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return "a grid has at most 65,535 blocks along y and along z";
  if (shared > 227 << 10) return "a block has at most 227 KB of shared memory";
  if (blocks > MOST_CLUSTER) return "a cluster has at most two blocks here";
  if (grid.x % blocks) return "a grid must be whole clusters along x";
  if (blocks > 1 && has_fixed()) return "blocks of a cluster share their __shared__ arrays here: use DYNAMIC_SHARED";
  return nullptr;
}

void emulator_launch(void (*k)(void*), void* a, dim3 grid, dim3 block, int shared, int of) {
  emulator_fault = {};
  int n = block.x * block.y * block.z;
  if ((emulator_fault.what = refused(grid, n, shared, of))) return;
  if (!stacks) {
    int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    stacks = (char*)mmap(nullptr, ALL * STACK, PROT_READ | PROT_WRITE, kind, -1, 0);
    auto* memory = (unsigned char*)mmap(nullptr, MOST_CLUSTER * MOST_SHARED, PROT_READ | PROT_WRITE, kind, -1, 0);
    for (int r = 0; r < MOST_CLUSTER; r++) blocks[r].shared = memory + r * MOST_SHARED, blocks[r].rank = r;
  }
  kernel = k, arguments = a, emulator_grid_dim = grid, emulator_block_dim = block;
  if (!parked || n != count || of != cluster) {
    count = n, cluster = of;
    prepare();
  }
  check_launch(shared);
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x += cluster) {
        run_cluster({x, y, z});
        if (emulator_fault.what) return;
      }
}
