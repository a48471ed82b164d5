//! Small worlds, all of them: every program of three operations from a small alphabet, with a crash
//! before every single completion, in the ways that matter.

use emberlog_engine::Ack;
use emberlog_engine::sim::disk::Crash;
use emberlog_engine::sim::faults::Profile;
use emberlog_engine::sim::harness::run;
use emberlog_engine::sim::program::{Action, Op, Program, Setup};

fn setup() -> Setup {
    Setup {
        ack: Ack::Durable,
        segments_max: 16,
        hot_bytes: 0,
        batch_bytes_max: 4096,
        pending_bytes_max: 1 << 20,
        checkpoint_bytes: 64,
        segments_ahead: 2,
        compression: true,
    }
}

/// What a program may do; key 0 and key 1 share a namespace.
fn alphabet() -> Vec<Action> {
    vec![
        Action::Put(0, 10, None),
        Action::Put(0, 20, Some(60_000)),
        Action::Put(1, 7_000, None),
        Action::Delete(0),
        Action::Expire(0, Some(90_000)),
        Action::Clear(0),
        Action::Group(vec![Action::Put(0, 30, None), Action::Put(1, 30, None)]),
    ]
}

/// A program of these actions that crashes after `completions`, then once more in its recovery.
fn program(
    actions: &[Action],
    apart: bool,
    completions: u8,
    crash: Crash,
    cut: Option<u8>,
) -> Program {
    let mut ops = vec![Op::Settle];
    for action in actions {
        ops.push(Op::Do(action.clone()));
        if apart {
            // Each in a batch of its own, durable before the next.
            ops.push(Op::Settle);
        }
    }
    let cuts = cut.into_iter().collect();
    ops.push(Op::Crash { crash, after: completions, cuts, setup: setup() });
    ops.push(Op::Do(Action::Put(2, 10, None)));
    ops.push(Op::Crash { crash: Crash::Power, after: 0, cuts: Vec::new(), setup: setup() });
    Program {
        seed: u64::from(completions),
        profile: Profile::Calm,
        segment_bytes: 16 << 10,
        block_bytes: 4096,
        buggify: false,
        setup: setup(),
        labelled: completions % 2 == 1,
        chunk_bytes: 1024,
        ops,
    }
}

fn check(program: &Program) {
    if let Err(failure) = run(program) {
        panic!("at {}: {}\n{:#?}", failure.at, failure.message, program.ops);
    }
}

#[test]
fn every_program_of_two_crashed_before_every_completion() {
    let alphabet = alphabet();
    for first in &alphabet {
        for second in &alphabet {
            for apart in [false, true] {
                for completions in 0..12 {
                    for crash in [Crash::Power, Crash::Kill] {
                        let actions = [first.clone(), second.clone()];
                        check(&program(&actions, apart, completions, crash, None));
                    }
                }
            }
        }
    }
}

#[test]
fn every_program_of_three_crashed_in_its_recovery_too() {
    let alphabet = alphabet();
    for (number, first) in alphabet.iter().enumerate() {
        for second in &alphabet {
            for (turn, third) in alphabet.iter().enumerate() {
                let actions = [first.clone(), second.clone(), third.clone()];
                for completions in 0..6 {
                    let cut = (number + turn) as u8 * 2 + completions;
                    check(&program(&actions, false, completions, Crash::Power, Some(cut)));
                }
            }
        }
    }
}
