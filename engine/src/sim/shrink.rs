//! Making a failing program short: whoever looks into it reads ten operations, not four hundred.
//!
//! Owns: [`shrink`].
//! Invariant: what it returns still fails, though perhaps in another way.

use super::program::{Action, Op, Program};

/// Removes operations, ever smaller runs of them, and simplifies those that stay, as long as
/// `fails` says that the program still fails. Runs at most `budget` programs.
pub fn shrink(
    program: &Program,
    mut budget: u32,
    mut fails: impl FnMut(&Program) -> bool,
) -> Program {
    let mut best = program.clone();
    let mut run = best.ops.len().div_ceil(2);
    while run > 0 && budget > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < best.ops.len() && budget > 0 {
            let mut candidate = best.clone();
            candidate.ops.drain(at..(at + run).min(candidate.ops.len()));
            budget -= 1;
            if fails(&candidate) {
                best = candidate;
                shorter = true;
            } else {
                at += run;
            }
        }
        if !shorter {
            run /= 2;
        }
    }
    for at in 0..best.ops.len() {
        for simpler in simpler(&best.ops[at]) {
            if budget == 0 {
                return best;
            }
            let mut candidate = best.clone();
            candidate.ops[at] = simpler;
            budget -= 1;
            if fails(&candidate) {
                best = candidate;
            }
        }
    }
    best
}

/// Simpler operations that may do as well.
fn simpler(op: &Op) -> Vec<Op> {
    match op {
        Op::Do(Action::Group(members)) => {
            let mut all: Vec<Op> = members.iter().cloned().map(Op::Do).collect();
            for left_out in 0..members.len() {
                let mut fewer = members.clone();
                fewer.remove(left_out);
                all.push(Op::Do(Action::Group(fewer)));
            }
            all
        }
        Op::Do(Action::Put(key, bytes, ttl)) if *bytes > 10 => {
            vec![Op::Do(Action::Put(*key, 10, *ttl)), Op::Do(Action::Put(*key, *bytes, None))]
        }
        Op::Crash { crash, after, cuts, setup } if !cuts.is_empty() || *after > 0 => {
            let make = |after, cuts| Op::Crash { crash: *crash, after, cuts, setup: setup.clone() };
            vec![make(*after, Vec::new()), make(0, cuts.clone())]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::faults::Profile;

    #[test]
    fn what_matters_stays() {
        let program = Program::draw(5, Profile::Calm);
        let mut program = Program { ops: program.ops.into_iter().take(50).collect(), ..program };
        program.ops[20] = Op::Rot;
        program.ops[40] = Op::DiskFull(true);
        let fails = |p: &Program| p.ops.contains(&Op::Rot) && p.ops.contains(&Op::DiskFull(true));
        let short = shrink(&program, 2_000, fails);
        assert_eq!(short.ops, [Op::Rot, Op::DiskFull(true)]);
    }
}
