//! The heap of a router's build: a list of free blocks. The C library's, made for programs with many
//! threads and millions of blocks, is 10 KB of code, a twentieth of the whole.
//!
//! ```text
//!   up to a chunk   the first free block with room, by address; neighbours that are free are one block
//!   above           its own pages of the kernel, which gets them back
//! ```
//!
//! Taking the lowest block with room keeps what lives long together at the bottom, so the daemon, which
//! asks for the same sizes each minute, gets the same blocks each minute. A block has no header: Rust
//! says how large it was when it gives it back. Free blocks are searched one by one, which a few dozen
//! of them don't make slow; ten thousand would.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

/// All sizes are multiples of this many bytes, so that every block has room for a [`Free`] once it is.
const GRAIN: usize = mem::size_of::<Free>();

/// Bytes that are taken from the kernel at once for small blocks; a multiple of its pages, which have
/// 4 to 64 KiB. Larger blocks are the kernel's alone.
const CHUNK: usize = 1 << 16;

/// What pages are aligned to, at least. Nothing asks for more, and nothing would get it.
const PAGE: usize = 1 << 12;

/// What is written into a free block: the way to the next one, which lies above it.
struct Free {
    bytes: usize,
    next: *mut Free,
}

/// The free blocks by address. No two of them touch.
struct Blocks {
    first: *mut Free,
}

impl Blocks {
    /// Takes the lowest bytes that are free, aligned. Null if there are none.
    ///
    /// # Safety
    /// `bytes` is a multiple of [`GRAIN`] and not 0, `align` a power of two.
    unsafe fn take(&mut self, bytes: usize, align: usize) -> *mut u8 {
        let mut link = &raw mut self.first;
        loop {
            // SAFETY: links are fields of the list or of its blocks, and those are ours alone.
            let block = unsafe { *link };
            if block.is_null() {
                return ptr::null_mut();
            }
            // SAFETY: a block of the list is a Free.
            let Free { bytes: room, next } = unsafe { block.read() };
            // Blocks begin at multiples of the grain, so what is left before and behind is a block, too.
            let before = block.cast::<u8>().align_offset(align);
            if let Some(behind) = room
                .checked_sub(before)
                .and_then(|room| room.checked_sub(bytes))
            {
                // SAFETY: there are that many bytes before, and that many behind.
                let (start, end) =
                    unsafe { (block.byte_add(before), block.byte_add(room - behind)) };
                let rest = if behind == 0 {
                    next
                } else {
                    let free = Free {
                        bytes: behind,
                        next,
                    };
                    // SAFETY: what is behind is at least a grain, aligned to it, and nobody's.
                    unsafe { end.write(free) };
                    end
                };
                if before == 0 {
                    // SAFETY: as above.
                    unsafe { *link = rest };
                } else {
                    let free = Free {
                        bytes: before,
                        next: rest,
                    };
                    // SAFETY: as above, and it stays where it is in the list.
                    unsafe { block.write(free) };
                }
                return start.cast();
            }
            // SAFETY: as above.
            link = unsafe { &raw mut (*block).next };
        }
    }

    /// Gives bytes back.
    ///
    /// # Safety
    /// They are what [`Blocks::take`] gave, or new; nobody else has any of them.
    unsafe fn give(&mut self, start: *mut u8, bytes: usize) {
        let block = start.cast::<Free>();
        let mut link = &raw mut self.first;
        let mut below: *mut Free = ptr::null_mut();
        // SAFETY: links are fields of the list or of its blocks, which are ours alone; so in all of
        // this.
        unsafe {
            while !(*link).is_null() && *link < block {
                below = *link;
                link = &raw mut (*below).next;
            }
            let above = *link;
            let mut free = Free { bytes, next: above };
            if block.byte_add(bytes) == above {
                free.bytes += (*above).bytes;
                free.next = (*above).next;
            }
            if !below.is_null() && below.byte_add((*below).bytes) == block {
                (*below).bytes += free.bytes;
                (*below).next = free.next;
            } else {
                block.write(free);
                *link = block;
            }
        }
    }
}

/// The heap.
pub struct Heap {
    blocks: UnsafeCell<Blocks>,
    is_in_use: AtomicBool,
}

// SAFETY: the blocks are touched by whoever has set `is_in_use`, and by nobody else.
unsafe impl Sync for Heap {}

impl Heap {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            blocks: UnsafeCell::new(Blocks {
                first: ptr::null_mut(),
            }),
            is_in_use: AtomicBool::new(false),
        }
    }

    /// Does something with the blocks while no other thread does. There is one other at most, that of
    /// `shimmer connect`, and it is done at once.
    fn with<T>(&self, work: impl FnOnce(&mut Blocks) -> T) -> T {
        while self.is_in_use.swap(true, Ordering::Acquire) {
            // SAFETY: no pointers.
            unsafe { libc::sched_yield() };
        }
        // SAFETY: whoever comes now waits above.
        let done = work(unsafe { &mut *self.blocks.get() });
        self.is_in_use.store(false, Ordering::Release);
        done
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes that a block has for so many.
fn rounded(bytes: usize) -> usize {
    // No layout is within a grain of the largest number.
    bytes.next_multiple_of(GRAIN)
}

/// Whether it gets pages of its own. What does not fits into a chunk, wherever that lies.
fn is_large(layout: Layout) -> bool {
    layout.size() > CHUNK / 2
}

/// New pages, all zeros. Null if there are none.
fn pages(bytes: usize) -> *mut u8 {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: it maps what was not mapped before.
    match unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) } {
        libc::MAP_FAILED => ptr::null_mut(),
        pages => pages.cast(),
    }
}

// SAFETY: blocks that were taken and not given back don't overlap (see the tests), and are as large and
// as aligned as was asked for.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > PAGE {
            return ptr::null_mut();
        }
        if is_large(layout) {
            return pages(layout.size());
        }
        let bytes = rounded(layout.size());
        self.with(|blocks| {
            // SAFETY: a layout is never empty here, and its alignment a power of two.
            let taken = unsafe { blocks.take(bytes, layout.align()) };
            if !taken.is_null() {
                return taken;
            }
            let chunk = pages(CHUNK);
            if chunk.is_null() {
                return chunk;
            }
            // SAFETY: the chunk is new; and a layout as above.
            unsafe {
                blocks.give(chunk, CHUNK);
                blocks.take(bytes, layout.align())
            }
        })
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: they are the pages that `alloc` has mapped for it.
            unsafe { libc::munmap(start.cast(), layout.size()) };
        } else {
            // SAFETY: it is what `alloc` has taken for it.
            self.with(|blocks| unsafe { blocks.give(start, rounded(layout.size())) });
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        let start = unsafe { self.alloc(layout) };
        // The kernel's pages are zeros, and what nobody writes to takes no memory.
        if !start.is_null() && !is_large(layout) {
            // SAFETY: there are so many bytes.
            unsafe { start.write_bytes(0, layout.size()) };
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Grains of the arenas here.
    const GRAINS: usize = 64;

    /// What [`Blocks`] does, grain by grain.
    struct Naive([bool; GRAINS]);

    impl Naive {
        fn take(&mut self, grains: usize, align: usize) -> Option<usize> {
            let is_free = |from: usize| self.0[from..from + grains].iter().all(|taken| !taken);
            let mut places = (0..=GRAINS - grains).step_by(align);
            let place = places.find(|&place| is_free(place))?;
            self.0[place..place + grains].fill(true);
            Some(place)
        }

        fn give(&mut self, place: usize, grains: usize) {
            self.0[place..place + grains].fill(false);
        }

        /// Where free blocks begin, and how long they are.
        fn free(&self) -> Vec<(usize, usize)> {
            let mut free: Vec<(usize, usize)> = Vec::new();
            for place in (0..GRAINS).filter(|&place| !self.0[place]) {
                match free.last_mut() {
                    Some((start, grains)) if *start + *grains == place => *grains += 1,
                    _ => free.push((place, 1)),
                }
            }
            free
        }
    }

    /// The same of a list, in grains from the start of its arena.
    fn free(blocks: &Blocks, arena: *mut u8) -> Vec<(usize, usize)> {
        let mut free = Vec::new();
        let mut block = blocks.first;
        while !block.is_null() {
            let place = (block as usize - arena as usize) / GRAIN;
            // SAFETY: the list's blocks are in the arena.
            let Free { bytes, next } = unsafe { block.read() };
            free.push((place, bytes / GRAIN));
            block = next;
        }
        free
    }

    /// Bytes in all free blocks of a heap.
    fn free_bytes(heap: &Heap) -> usize {
        heap.with(|blocks| {
            free(blocks, ptr::null_mut())
                .iter()
                .map(|(_, grains)| grains * GRAIN)
                .sum()
        })
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// So many grains, aligned to two to the power of that many.
        Take(usize, u32),
        /// One of those that were taken.
        Give(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..20usize, 0..4u32).prop_map(|(grains, align)| Step::Take(grains, align)),
            (0..16usize).prop_map(Step::Give),
        ];
        vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn blocks_are_where_a_naive_list_has_them(steps in steps()) {
            // Aligned to more than any step asks for.
            let layout = Layout::from_size_align(GRAINS * GRAIN, PAGE).unwrap();
            // SAFETY: the layout is not empty.
            let arena = unsafe { std::alloc::alloc(layout) };
            let mut blocks = Blocks { first: ptr::null_mut() };
            // SAFETY: the arena is new.
            unsafe { blocks.give(arena, GRAINS * GRAIN) };
            let mut naive = Naive([false; GRAINS]);
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(grains, align) => {
                        let align = 1 << align;
                        // SAFETY: it is a number of grains, and a power of two.
                        let start = unsafe { blocks.take(grains * GRAIN, align * GRAIN) };
                        let place = naive.take(grains, align);
                        let offset = |start: *mut u8| (start as usize - arena as usize) / GRAIN;
                        prop_assert_eq!((!start.is_null()).then(|| offset(start)), place);
                        taken.extend(place.map(|place| (place, grains)));
                    }
                    Step::Give(which) if !taken.is_empty() => {
                        let (place, grains) = taken.swap_remove(which % taken.len());
                        naive.give(place, grains);
                        // SAFETY: it was taken, and is no more.
                        unsafe { blocks.give(arena.byte_add(place * GRAIN), grains * GRAIN) };
                    }
                    Step::Give(_) => {}
                }
                prop_assert_eq!(free(&blocks, arena), naive.free());
            }
            // SAFETY: it is the arena from above, and nobody looks at it again.
            unsafe { std::alloc::dealloc(arena, layout) };
        }

        #[test]
        fn what_is_written_stays_until_it_is_given_back(
            steps in vec((0..5u32, 1..90_000usize, 0..13u32, 0..16usize), 0..200)
        ) {
            let heap = Heap::new();
            let mut taken: Vec<(*mut u8, Layout, u8)> = Vec::new();
            let is_filled = |start: *mut u8, bytes: usize, with: u8| {
                // SAFETY: there are so many, and all were written to.
                let bytes = unsafe { core::slice::from_raw_parts(start, bytes) };
                bytes.iter().all(|&byte| byte == with)
            };
            for (number, (kind, mut bytes, align, which)) in steps.into_iter().enumerate() {
                let filling = number as u8 | 1;
                if kind > 1 {
                    // Most are small.
                    bytes = bytes % 500 + 1;
                }
                let layout = Layout::from_size_align(bytes, 1 << align).unwrap();
                if kind % 2 == 0 || taken.is_empty() {
                    let is_zeroed = kind == 0;
                    // SAFETY: no layout here is empty.
                    let start = unsafe {
                        if is_zeroed { heap.alloc_zeroed(layout) } else { heap.alloc(layout) }
                    };
                    prop_assert!(!start.is_null() && (start as usize).is_multiple_of(1 << align));
                    prop_assert!(!is_zeroed || is_filled(start, bytes, 0));
                    // SAFETY: there are so many bytes.
                    unsafe { start.write_bytes(filling, bytes) };
                    taken.push((start, layout, filling));
                } else {
                    let (start, layout, filling) = taken.swap_remove(which % taken.len());
                    prop_assert!(is_filled(start, layout.size(), filling));
                    if kind == 1 {
                        // SAFETY: it was taken with this layout, and no layout here is empty.
                        let moved = unsafe { heap.realloc(start, layout, bytes) };
                        prop_assert!(is_filled(moved, bytes.min(layout.size()), filling));
                        // SAFETY: there are so many bytes.
                        unsafe { moved.write_bytes(filling, bytes) };
                        let layout = Layout::from_size_align(bytes, layout.align()).unwrap();
                        taken.push((moved, layout, filling));
                    } else {
                        // SAFETY: it was taken with this layout.
                        unsafe { heap.dealloc(start, layout) };
                    }
                }
            }
            for (start, layout, filling) in taken {
                prop_assert!(is_filled(start, layout.size(), filling));
                // SAFETY: it was taken with this layout.
                unsafe { heap.dealloc(start, layout) };
            }
            // Nothing is lost, not a grain.
            prop_assert!(free_bytes(&heap).is_multiple_of(CHUNK));
        }
    }

    #[test]
    fn the_minutes_of_a_daemon_take_no_more_than_the_first() {
        let heap = Heap::new();
        let take = |bytes: usize| {
            let layout = Layout::from_size_align(bytes, mem::align_of::<u64>()).unwrap();
            // SAFETY: no layout here is empty.
            (unsafe { heap.alloc(layout) }, layout)
        };
        // SAFETY: each was taken here.
        let give = |(start, layout)| unsafe { heap.dealloc(start, layout) };
        let mut live = std::collections::VecDeque::new();
        for minute in 0..10_000usize {
            // A text that grows, a name that stays for some minutes, a table of a reload.
            let mut text = take(16);
            for doubled in 5..13 {
                let longer = take(1 << doubled);
                give(text);
                text = longer;
            }
            live.push_back(take(1 + minute * 7 % 60));
            live.push_back(take(1 + minute * 31 % 2_000));
            give(text);
            if live.len() > 20 {
                live.pop_front().map(give);
                live.pop_front().map(give);
            }
        }
        live.into_iter().for_each(give);
        assert_eq!(free_bytes(&heap), CHUNK);
    }

    #[test]
    fn threads_have_blocks_of_their_own() {
        let heap = Heap::new();
        std::thread::scope(|scope| {
            for filling in 1..=4u8 {
                let heap = &heap;
                scope.spawn(move || {
                    for round in 1..2_000usize {
                        let layout = Layout::from_size_align(round % 100 + 1, 8).unwrap();
                        // SAFETY: it is not empty; it has so many bytes; it is given back once.
                        unsafe {
                            let start = heap.alloc(layout);
                            start.write_bytes(filling, layout.size());
                            std::thread::yield_now();
                            let last = start.add(layout.size() - 1);
                            assert_eq!((start.read(), last.read()), (filling, filling));
                            heap.dealloc(start, layout);
                        }
                    }
                });
            }
        });
        assert_eq!(free_bytes(&heap), CHUNK);
    }

    #[test]
    fn what_can_not_be_had_is_null() {
        let heap = Heap::new();
        let all = isize::MAX as usize & !(PAGE - 1);
        let layout = Layout::from_size_align(all, 8).unwrap();
        // Half of all addresses may be free, where the kernel has more of them than the processor.
        // SAFETY: the layout is not empty.
        let blocks = [(); 3].map(|()| unsafe { heap.alloc(layout) });
        assert!(blocks.iter().any(|block| block.is_null()));
        for block in blocks.into_iter().filter(|block| !block.is_null()) {
            // SAFETY: it is one of these, and nobody has used it.
            unsafe { heap.dealloc(block, layout) };
        }
        let layout = Layout::from_size_align(8, 2 * PAGE).unwrap();
        // SAFETY: the layout is not empty.
        assert!(unsafe { heap.alloc(layout) }.is_null());
    }
}
