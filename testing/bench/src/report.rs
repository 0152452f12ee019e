//! Tables, and their place in docs/benchmarks.md.

use std::fmt::Write as _;
use std::fs;

use crate::Result;
use crate::proxies::here;

/// One table: a row per scenario, a column per proxy.
#[derive(Debug)]
pub struct Table {
    /// What the numbers are.
    pub title: String,
    /// Names of the columns; ratios are to the first.
    pub columns: Vec<String>,
    /// What was measured.
    pub rows: Vec<Row>,
}

/// A row of a table.
#[derive(Debug)]
pub struct Row {
    /// What it is called.
    pub name: String,
    /// Digits behind the point.
    pub digits: usize,
    /// By column; a value may be missing.
    pub values: Vec<Option<f64>>,
}

impl Table {
    /// Returns the table in Markdown. Every value but the first is followed by its ratio to it.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n| |", self.title);
        for column in &self.columns {
            let _ = write!(text, " {column} |");
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(self.columns.len()));
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.name);
            for column in 0..row.values.len() {
                let _ = write!(text, " {} |", row.cell(column));
            }
        }
        text.push('\n');
        text
    }
}

impl Row {
    fn cell(&self, column: usize) -> String {
        let Some(value) = self.values[column] else {
            return String::from("–");
        };
        let number = grouped(value, self.digits);
        match self.values[0] {
            Some(base) if column > 0 && base > 0.0 => format!("{number} ({:.2})", value / base),
            _ => number,
        }
    }
}

/// Returns the median, if there is any value.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Replaces what docs/benchmarks.md has between the marks of `section`.
pub fn write_section(section: &str, text: &str) -> Result<()> {
    let path = here().join("../../docs/benchmarks.md");
    let failed = |error| format!("{}: {error}", path.display());
    let page = fs::read_to_string(&path).map_err(failed)?;
    let replaced = replace_section(&page, section, text)
        .ok_or_else(|| format!("{}: no marks for {section}", path.display()))?;
    fs::write(&path, replaced).map_err(failed)
}

fn replace_section(page: &str, section: &str, text: &str) -> Option<String> {
    let (start, end) = (
        format!("<!-- begin {section} -->\n"),
        format!("<!-- end {section} -->"),
    );
    let (before, rest) = page.split_once(&start)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{start}\n{}\n\n{end}{after}", text.trim()))
}

/// Returns the number with its thousands grouped.
pub fn grouped(value: f64, digits: usize) -> String {
    let plain = format!("{:.digits$}", value.abs());
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{text}{rest}")
}

#[cfg(test)]
mod tests {
    use super::{Row, Table, grouped, median, replace_section};

    #[test]
    fn tables_show_ratios_to_the_first_column() {
        let table = Table {
            title: String::from("CPU"),
            columns: vec!["ours".into(), "a".into(), "b".into()],
            rows: vec![Row {
                name: String::from("small"),
                digits: 1,
                values: vec![Some(10.0), Some(25.0), None],
            }],
        };
        let expected = "### CPU\n\n| | ours | a | b |\n|---|---:|---:|---:|\n| small | 10.0 | 25.0 (2.50) | – |\n";
        assert_eq!(table.markdown(), expected);
    }

    #[test]
    fn medians_and_numbers() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        for (value, digits, text) in [
            (0.0, 0, "0"),
            (999.4, 0, "999"),
            (1_234.5, 1, "1,234.5"),
            (1_234_567.0, 0, "1,234,567"),
            (-1.26, 1, "-1.3"),
        ] {
            assert_eq!(grouped(value, digits), text);
        }
    }

    #[test]
    fn sections_are_replaced() {
        let page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n";
        let expected = "a\n<!-- begin x -->\n\nnew\n\n<!-- end x -->\nb\n";
        assert_eq!(
            replace_section(page, "x", "new\n").as_deref(),
            Some(expected)
        );
        assert_eq!(replace_section(page, "y", "new"), None);
    }
}
