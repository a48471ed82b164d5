//! Programs for the simulated world, composed from the input: the coverage-guided twin of
//! `simulate`. Commands, crashes and crashes inside recovery, judged by the reference model.

use emberlog_engine::Ack;
use emberlog_engine::sim::disk::Crash;
use emberlog_engine::sim::faults::Profile;
use emberlog_engine::sim::harness::run;
use emberlog_engine::sim::program::{Action, Op, Program};

/// Operations of a program at most.
const OPS_MAX: usize = 120;

/// The input, byte by byte; zeros when it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    fn ttl(&mut self) -> Option<u64> {
        self.pick(&[None, Some(1), Some(40), Some(3_000), Some(90_000), Some(7_200_000)])
    }

    fn simple(&mut self) -> Action {
        let key = self.byte() % 6;
        match self.byte() % 8 {
            0 => Action::Delete(key),
            1 => Action::Expire(key, self.ttl()),
            2 => Action::Get(key),
            3 => Action::Put(key, usize::from(self.byte()) * 30, self.ttl()),
            _ => Action::Put(key, usize::from(self.byte()), self.ttl()),
        }
    }

    fn op(&mut self, program: &Program) -> Op {
        match self.byte() % 24 {
            0 => Op::Flush,
            1 | 2 => Op::Complete(self.byte() % 16),
            3 => Op::Pass(self.pick(&[1, 20, 300, 1_500, 20_000, 400_000])),
            4 => Op::Settle,
            5 => Op::Check,
            6 => Op::Scan(u16::from(self.byte() % 3), self.pick(&[1, 3, 100])),
            7 => Op::Random(u16::from(self.byte() % 3)),
            8 => Op::Do(Action::Clear(u16::from(self.byte() % 3))),
            9 | 10 => {
                let members = (0..=self.byte() % 5).map(|_| self.simple()).collect();
                Op::Do(Action::Group(members))
            }
            11 => Op::SetAck(self.pick(&[Ack::Durable, Ack::Memory, Ack::Interval { ms: 50 }])),
            12 => Op::SetHot(self.pick(&[0, 2_000, 4 << 20])),
            13 => Op::JumpAhead(self.pick(&[100, 45_000, 7_200_000])),
            14 | 15 => {
                let crash = self.pick(&[Crash::Power, Crash::Kill]);
                let after = self.byte() % 24;
                let cuts = (0..self.byte() % 4).map(|_| self.byte() % 48).collect();
                Op::Crash { crash, after, cuts, setup: program.setup.clone() }
            }
            16 => Op::Reopen(program.setup.clone()),
            _ => Op::Do(self.simple()),
        }
    }
}

/// # Panics
/// When a promise is broken.
pub fn worlds(data: &[u8]) {
    let mut input = Input(data);
    let profile = input.pick(&[Profile::Calm, Profile::InModel]);
    // Limits and the disk's chances of a seed, the operations of the input.
    let mut program = Program::draw(u64::from(input.byte()), profile);
    program.ops.clear();
    while !input.0.is_empty() && program.ops.len() < OPS_MAX {
        let op = input.op(&program);
        program.ops.push(op);
    }
    if let Err(failure) = run(&program) {
        panic!("at operation {}: {}\n{:#?}", failure.at, failure.message, program.ops);
    }
}
