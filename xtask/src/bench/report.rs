//! What a section found, on the terminal and in `docs/benchmarks.md`.
//!
//! Each section's result is kept below the target folder, so that `--section NAME` measures one anew and the document
//! still has all; the document says of each when it was measured and how busy the machine was. A section that was
//! never measured is not in it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// One line of the table of targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    what: String,
    target: String,
    measured: String,
    /// None where there is no target.
    met: Option<bool>,
}

/// One section of the document.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) rows: Vec<Row>,
    /// Markdown below the rows: tables of all figures, and what explains them.
    pub(crate) text: String,
}

impl Section {
    /// A figure with a target.
    pub(crate) fn judged(&mut self, what: &str, target: &str, measured: String, met: bool) {
        self.rows.push(Row { what: what.to_owned(), target: target.to_owned(), measured, met: Some(met) });
    }

    /// A figure beside which nothing is demanded.
    pub(crate) fn noted(&mut self, what: &str, measured: String) {
        self.rows.push(Row { what: what.to_owned(), target: "–".to_owned(), measured, met: None });
    }

    /// A Markdown table.
    pub(crate) fn table(&mut self, head: &[&str], lines: &[Vec<String>]) {
        let _ = writeln!(self.text, "| {} |\n|{}", head.join(" | "), " --- |".repeat(head.len()));
        for line in lines {
            let _ = writeln!(self.text, "| {} |", line.join(" | "));
        }
        self.text.push('\n');
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}\n");
    }
}

/// Where the sections' results are kept.
pub(crate) struct Results(PathBuf);

impl Results {
    pub(crate) fn in_folder(folder: &Path) -> Result<Self> {
        let folder = folder.join("results");
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    pub(crate) fn keep(&self, name: &str, circumstances: &str, section: &Section) -> Result<()> {
        let rows: Vec<Value> = section
            .rows
            .iter()
            .map(|row| json!({"what": row.what, "target": row.target, "measured": row.measured, "met": row.met}))
            .collect();
        let kept = json!({"circumstances": circumstances, "rows": rows, "text": section.text});
        fs::write(self.0.join(format!("{name}.json")), serde_json::to_vec_pretty(&kept)?)?;
        Ok(())
    }

    /// The document: a table of all targets, then each section.
    pub(crate) fn document(&self, sections: &[(&str, &str)], head: &str) -> Result<String> {
        let mut kept = Vec::new();
        for (name, title) in sections {
            if let Ok(bytes) = fs::read(self.0.join(format!("{name}.json"))) {
                kept.push((*title, serde_json::from_slice::<Value>(&bytes).context("a kept result is not JSON")?));
            }
        }
        let mut text = format!("{head}\n## Targets\n\n| what | target | measured | met |\n| --- | --- | --- | --- |\n");
        for (_, section) in &kept {
            for row in section["rows"].as_array().into_iter().flatten() {
                let _ = writeln!(text, "{}", line(row));
            }
        }
        for (title, section) in &kept {
            let part = |key: &str| section[key].as_str().unwrap_or_default().trim_end().to_owned();
            let _ = write!(text, "\n## {title}\n\n{}\n", part("circumstances"));
            if !part("text").is_empty() {
                let _ = write!(text, "\n{}\n", part("text"));
            }
        }
        Ok(text)
    }
}

fn line(row: &Value) -> String {
    let part = |key: &str| row[key].as_str().unwrap_or_default();
    let met = match row["met"].as_bool() {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "–",
    };
    format!("| {} | {} | {} | {met} |", part("what"), part("target"), part("measured"))
}

/// The rows for a terminal.
pub(crate) fn shown(section: &Section) -> String {
    let widest = |cell: fn(&Row) -> &str| section.rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0);
    let (what, target) = (widest(|row| &row.what), widest(|row| &row.target));
    let mut text = String::new();
    for row in &section.rows {
        let met = match row.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let _ = writeln!(text, "{:what$}  {:target$}  {}  {met}", row.what, row.target, row.measured);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Results, Section};

    #[test]
    fn the_document_has_what_was_measured_losses_included_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("xtask-report-{}", std::process::id()));
        let results = Results::in_folder(&folder).unwrap();
        let mut section = Section::default();
        section.judged("speed", "≤ 1", "2".to_owned(), false);
        section.table(&["a", "b"], &[vec!["1".to_owned(), "2".to_owned()]]);
        results.keep("one", "On a Monday.", &section).unwrap();
        let text = results.document(&[("one", "The one"), ("two", "The other")], "# Benchmarks\n").unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        assert!(text.contains("| speed | ≤ 1 | 2 | **no** |"), "{text}");
        assert!(text.contains("## The one\n\nOn a Monday.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"), "{text}");
        assert!(!text.contains("The other"), "{text}");
    }
}
