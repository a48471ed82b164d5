//! What a part has to say: tables, bars met or missed, plots; and how that becomes text.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Plot;
use crate::region;

/// A table of results; the first column is text, the others are numbers.
pub(crate) struct Table {
    /// What it shows.
    pub(crate) caption: String,
    /// Names of the columns.
    pub(crate) head: Vec<String>,
    /// As many cells as `head`, each.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(caption: impl Into<String>, head: &[&str]) -> Table {
        let head = head.iter().map(|&name| name.to_owned()).collect();
        Table { caption: caption.into(), head, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.head.len(), "a cell for each column of '{}'", self.caption);
        self.rows.push(cells);
    }
}

/// A figure that was asked for, and what was measured.
pub(crate) struct Bar {
    /// What is measured.
    pub(crate) what: String,
    /// The measurement, with its unit.
    pub(crate) measured: String,
    /// The bar, with its unit.
    pub(crate) wanted: String,
    /// Whether it is met.
    pub(crate) met: bool,
}

impl Bar {
    /// A measurement that must not exceed `most`.
    pub(crate) fn at_most(what: impl Into<String>, measured: f64, most: f64, unit: &str) -> Bar {
        let met = measured <= most;
        Bar {
            what: what.into(),
            measured: format!("{measured:.2} {unit}"),
            wanted: format!("<= {most} {unit}"),
            met,
        }
    }

    /// A measurement that must not fall below `least`.
    pub(crate) fn at_least(what: impl Into<String>, measured: f64, least: f64, unit: &str) -> Bar {
        let met = measured >= least;
        Bar {
            what: what.into(),
            measured: format!("{measured:.2} {unit}"),
            wanted: format!(">= {least} {unit}"),
            met,
        }
    }
}

/// The report of one part.
pub(crate) struct Section {
    /// Heading.
    pub(crate) title: &'static str,
    /// What was run and with which settings, as Markdown.
    pub(crate) intro: String,
    /// Results.
    pub(crate) tables: Vec<Table>,
    /// Figures that were asked for.
    pub(crate) bars: Vec<Bar>,
    /// Pictures.
    pub(crate) plots: Vec<Plot>,
    /// What a reader should know about the results: shortfalls, what was tried.
    pub(crate) notes: Vec<String>,
}

impl Section {
    /// A section without results.
    pub(crate) fn new(title: &'static str, intro: impl Into<String>) -> Section {
        let intro = intro.into();
        Section { title, intro, tables: vec![], bars: vec![], plots: vec![], notes: vec![] }
    }

    /// The section as Markdown.
    pub(crate) fn text(&self, part: &str, seconds: u64) -> String {
        let mut text = format!(
            "## {}\n\n`cargo run --release -p emberlog-benches -- economics {part}` ({seconds} s)\n\n\
             {}.\n\n{}\n",
            self.title,
            machine(),
            self.intro
        );
        if !self.bars.is_empty() {
            text.push_str("\n| | measured | bar | |\n|---|--:|--:|---|\n");
        }
        for Bar { what, measured, wanted, met } in &self.bars {
            let met = if *met { "met" } else { "**missed**" };
            let _ = writeln!(text, "| {what} | {measured} | {wanted} | {met} |");
        }
        for Table { caption, head, rows } in &self.tables {
            let rule = "--:|".repeat(head.len() - 1);
            let _ = writeln!(text, "\n{caption}\n\n| {} |\n|---|{rule}", head.join(" | "));
            for row in rows {
                let _ = writeln!(text, "| {} |", row.join(" | "));
            }
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        for Plot { file, title, .. } in &self.plots {
            let _ = write!(text, "\n![{title}]({file}.svg)\n");
        }
        text
    }

    /// Writes the section into its region of the results file, and its plots beside that.
    pub(crate) fn write(
        &self,
        path: &Path,
        part: &str,
        before: &[String],
        seconds: u64,
    ) -> Result<()> {
        region::replace(path, &region(part), before, &self.text(part, seconds))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for plot in &self.plots {
            std::fs::write(folder.join(plot.file).with_extension("svg"), plot.svg())?;
        }
        Ok(())
    }
}

/// The name of a part's region in the results file.
pub(crate) fn region(part: &str) -> String {
    format!("economics {part}")
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    text.ok().filter(|t| !t.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// Whether a changed file is what a run of this has written.
fn is_output(line: &str) -> bool {
    let outputs = ["benches/RESULTS.md", ".svg"];
    outputs.iter().any(|output| line.ends_with(output))
}

/// Machine, kernel, commit, and how busy the machine was: numbers without them mean nothing.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let commit = output_of("git", &["rev-parse", "--short", "HEAD"]);
    let changed = output_of("git", &["status", "--porcelain", "--untracked-files=no"]);
    let load = read("/proc/loadavg");
    format!(
        "Machine: {cores} cores, {}, {}; load {} at the end. Commit {commit}{}",
        model.trim_start_matches([' ', '\t', ':']),
        output_of("uname", &["-sr"]),
        load.split(' ').next().unwrap_or("unknown"),
        if changed == "unknown" || changed.lines().all(is_output) { "" } else { " and changes" }
    )
}
