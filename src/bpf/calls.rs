//! The program that decides what becomes of a process's system calls (seccomp(2), linux/seccomp.h).

use super::{Program, jump, statement};
use core::mem::offset_of;
use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_TRAP, sock_filter,
};

/// What the program is run for (linux/seccomp.h, struct seccomp_data).
#[repr(C)]
struct SystemCall {
    number: u32,
    architecture: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// A call that is good with some arguments only.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// The call's number.
    pub number: u32,
    /// Which argument is looked at: 0 to 5.
    pub argument: u32,
    /// What its lower 32 bits may be. It is an int for the kernel, which looks at no more of it either.
    pub values: &'a [u32],
}

const ALLOW: sock_filter = statement(BPF_RET, SECCOMP_RET_ALLOW);
/// SIGSYS to the thread, instead of the call.
const TRAP: sock_filter = statement(BPF_RET, SECCOMP_RET_TRAP);
/// Kernels before 4.14 do not know it, and kill the thread. The daemon has one.
const KILL: sock_filter = statement(BPF_RET, SECCOMP_RET_KILL_PROCESS);

/// Allows calls, in the order of the list, so the frequent ones should come first; kills the process at the fatal
/// ones, and at any call of another architecture, whose numbers mean something else; and traps all others.
#[must_use]
pub fn calls(
    architecture: u32,
    allowed: &[u32],
    checked: &[Checked<'_>],
    fatal: &[u32],
) -> Program {
    let mut program = Program::from([
        load(offset_of!(SystemCall, architecture)),
        jump(BPF_JMP | BPF_JEQ, architecture, 1, 0),
        KILL,
        load(offset_of!(SystemCall, number)),
    ]);
    decide(&mut program, allowed, ALLOW);
    decide(&mut program, fatal, KILL);
    for call in checked {
        // Its load, two for each value, and the last word.
        let length = 2 + 2 * call.values.len();
        let argument = offset_of!(SystemCall, arguments) + 8 * call.argument as usize;
        let lower_half = if cfg!(target_endian = "big") { 4 } else { 0 };
        program.extend_from_slice(&[
            jump(BPF_JMP | BPF_JEQ, call.number, 0, length as u8),
            load(argument + lower_half),
        ]);
        decide(&mut program, call.values, ALLOW);
        program.push(TRAP);
    }
    program.push(TRAP);
    program
}

/// What is done if that which was loaded is one of these values.
fn decide(program: &mut Program, values: &[u32], action: sock_filter) {
    for &value in values {
        program.extend_from_slice(&[jump(BPF_JMP | BPF_JEQ, value, 0, 1), action]);
    }
}

const fn load(offset: usize) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset as u32)
}
