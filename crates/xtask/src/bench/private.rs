//! Private steps: ours, those of Opacus, and ours without privacy.

use anyhow::Result;
use serde_json::{Value, json};

use super::compare::{self, Check};
use super::figures::{self, Bar, Verdict, median, ratio};
use super::inputs::program;
use super::parts::{How, Part};
use super::{Bench, Measured, Side};

/// Ours first: it is what the others are compared with.
const SIDES: [Side; 4] = [Side::Ours, Side::Hooks, Side::Ghost, Side::Plain];
/// What privacy may cost: at most so many times our own step without it; bar and stretch.
const COST: Bar = Some((1.6, 1.3));
/// Our peak memory, at most: this part of what Opacus takes for the gradients of all records, and
/// of what it takes for their norms alone.
const MEMORY: [(Side, f64); 2] = [(Side::Hooks, 0.5), (Side::Ghost, 1.0)];

impl Bench<'_> {
    pub(super) fn private(&mut self, part: &Part) {
        for round in 0..self.rounds(part.how) {
            for side in SIDES {
                eprintln!("{} {}, round {}: {}", part.id, part.what, round + 1, side.name());
                match self.private_steps(part.id, side) {
                    Ok(once) => self.add(part.id, side, once),
                    Err(error) => {
                        let what = format!("{} did not run: {error:#}", side.name());
                        self.checks.push((part.id, Check { what, ok: false }));
                        return;
                    }
                }
            }
            if round == 0 {
                self.compare_sums(part.id);
            }
        }
    }

    /// Steps in a process of their own; the median of their times.
    fn private_steps(&self, row: &'static str, side: Side) -> Result<Measured> {
        let mut command = match side {
            Side::Hooks | Side::Ghost => {
                let mut command = self.peer("private.py");
                command.args([side.name(), row]);
                command
            }
            _ => {
                let mut command = self.ctx.program(program(self.ctx, "pate-bench"));
                let part = if side == Side::Plain { "plain-step" } else { "private-step" };
                command.args([part, "--row", row]);
                command
            }
        };
        command.arg("--inputs").arg(&self.inputs).arg("--out").arg(self.out(row, side));
        self.timed(&mut command)
    }

    fn compare_sums(&mut self, row: &'static str) {
        for side in [Side::Hooks, Side::Ghost] {
            let (ours, theirs) = (self.out(row, Side::Ours), self.out(row, side));
            let none = Value::Null;
            match compare::part("private-step", (&ours, &none), (&theirs, &none)) {
                Ok(checks) => self.checks.extend(checks.into_iter().map(|check| {
                    let what = format!("ours and {}: {}", side.name(), check.what);
                    (row, Check { what, ..check })
                })),
                Err(error) => self.checks.push((row, Check { what: format!("{error:#}"), ok: false })),
            }
        }
    }

    /// The faster of Opacus' ways.
    fn better(&self, row: &'static str) -> &[f64] {
        let ways = [Side::Hooks, Side::Ghost].map(|side| self.seconds(row, side));
        let [hooks, ghost] = ways.map(|seconds| median(seconds).unwrap_or(f64::INFINITY));
        if hooks < ghost { ways[0] } else { ways[1] }
    }

    fn cost(&self, row: &'static str) -> (Option<f64>, Verdict) {
        let cost =
            ratio(self.seconds(row, Side::Ours), self.seconds(row, Side::Plain)).map(|cost| cost.median);
        // The less the better: both sides of the comparison change their sign.
        (cost, Verdict::of(cost.map(|cost| -cost), COST.map(|(bar, stretch)| (-bar, -stretch))))
    }

    fn memory_kept(&self, row: &'static str) -> Option<bool> {
        let peak = |side| self.measured.get(&(row, side)).map(|measured| measured.peak);
        let ours = peak(Side::Ours)?;
        MEMORY
            .into_iter()
            .map(|(side, part)| Some(ours <= part * peak(side)?))
            .try_fold(true, |all, one| Some(all && one?))
    }

    /// Nothing where no such part was wanted.
    pub(super) fn private_table(&self, parts: &[Part]) -> Option<String> {
        let head = [
            "private step",
            "ours",
            "hooks",
            "ghost",
            "better/ours",
            "bar",
            "stretch",
            "verdict",
            "plain",
            "ours/plain",
            "verdict (1.6x, 1.3x)",
            "memory: ours",
            "hooks",
            "ghost",
            "verdict (hooks/2, ghost)",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for part in parts.iter().filter(|part| part.how == How::Private) {
            let times = |side| figures::seconds(median(self.seconds(part.id, side)));
            let faster = ratio(self.better(part.id), self.seconds(part.id, Side::Ours));
            let bars = part
                .bar
                .map_or(["-".into(), "-".into()], |(bar, stretch)| [bar, stretch].map(|x| format!("{x}x")));
            let (cost, verdict) = self.cost(part.id);
            let mut row = vec![format!("{} {}", part.id, part.what)];
            row.extend([Side::Ours, Side::Hooks, Side::Ghost].map(times));
            row.push(figures::times(faster));
            row.extend(bars);
            row.push(Verdict::of(faster.map(|faster| faster.median), part.bar).word().to_owned());
            row.push(times(Side::Plain));
            row.push(cost.map_or("-".to_owned(), |cost| format!("{cost:.2}x")));
            row.push(verdict.word().to_owned());
            row.extend([Side::Ours, Side::Hooks, Side::Ghost].map(|side| {
                let peak = self.measured.get(&(part.id, side)).map(|measured| measured.peak);
                peak.map_or("-".to_owned(), |peak| format!("{:.0} MB", peak / 1e6))
            }));
            row.push(
                self.memory_kept(part.id)
                    .map_or("not measured", |kept| if kept { "met" } else { "MISSED" })
                    .to_owned(),
            );
            rows.push(row);
        }
        (rows.len() > 1).then(|| figures::table(&rows))
    }

    pub(super) fn private_json(&self, part: &Part) -> Value {
        let each = |value: &dyn Fn(Side) -> Value| -> Value {
            SIDES
                .iter()
                .map(|&side| (side.name().to_owned(), value(side)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let measured = |side| self.measured.get(&(part.id, side));
        json!({
            "part": part.id,
            "what": part.what,
            "seconds": each(&|side| json!(self.seconds(part.id, side))),
            "peak_rss": each(&|side| json!(measured(side).map(|measured| measured.peak))),
            "results": each(&|side| json!(measured(side).map(|measured| &measured.result))),
            "better_over_ours": ratio(self.better(part.id), self.seconds(part.id, Side::Ours)).map(|ratio| ratio.median),
            "ours_over_plain": self.cost(part.id).0,
            "memory_kept": self.memory_kept(part.id),
            "bar": part.bar.map(|bar| bar.0),
            "stretch": part.bar.map(|bar| bar.1),
        })
    }
}
