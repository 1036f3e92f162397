//! How things look: colors, numbers, durations, tables, small charts.
//!
//! Colors go through `anstream`, which leaves them out where there is no terminal, or where NO_COLOR
//! says so.

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use model_foundry::{escaped, is_terminal_control};

/// Headings and names.
pub(crate) const STRONG: Style = Style::new().bold();
/// What is beside the point.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is worth a look.
pub(crate) const NOTE: Style = AnsiColor::Yellow.on_default().bold();
/// The end of a style.
pub(crate) const PLAIN: anstyle::Reset = anstyle::Reset;

/// Text that others control (a name, a file, a message) on one line, safe to print. Every command passes such text
/// through this.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_terminal_control) {
        Cow::Owned(escaped(text))
    } else {
        Cow::Borrowed(text)
    }
}

/// Text of several lines, each as [`plain`] makes it.
pub(crate) fn plain_lines(text: &str) -> String {
    let mut lines = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        // Tabs align what was logged, and do no harm.
        let parts: Vec<_> = line.split('\t').map(plain).collect();
        lines.push_str(&parts.join("\t"));
        lines.push_str(end);
    }
    lines
}

/// A path, as [`plain`] makes it.
pub(crate) fn plain_path(path: &Path) -> String {
    plain(&path.to_string_lossy()).into_owned()
}

/// JSON text that is safe to print: what a terminal could take as a control is escaped. Such a character can only be
/// in a string.
pub(crate) fn plain_json(json: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| is_terminal_control(c) && c != '\n' && c != '\t' && c != '\r';
    if json.chars().any(is_escaped) {
        let escape = |c: char| match c {
            c if is_escaped(c) => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        };
        Cow::Owned(json.chars().map(escape).collect())
    } else {
        Cow::Borrowed(json)
    }
}

/// Print a line on standard error. It cannot fail: a terminal that is closed, or a full disk, must not end the program.
pub(crate) fn print_error(line: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// Print a note on standard error.
pub(crate) fn note(text: &str) {
    print_error(format_args!("{NOTE}note:{PLAIN} {}", plain(text)));
}

/// Say on standard error when the component is compiled, which takes a second or two, if that happens.
pub(crate) fn announce_compilation() {
    model_foundry::on_compilation(|is_cached| {
        if is_cached {
            note("compiling the component, once for this version of model-foundry");
        } else {
            note(
                "compiling the component at each start: there is no cache folder that only you can write",
            );
        }
    });
}

/// Text on one line.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = plain(&text).into_owned();
    if text.chars().count() <= longest {
        return text;
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

/// A time of a run's files, which is in UTC, as the local time; as it is if it cannot be read.
pub(crate) fn local_time(time: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(time) {
        Ok(time) => time.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => plain(time).into_owned(),
    }
}

/// How far the local time was from UTC at a time: `UTC`, `+01:00`.
pub(crate) fn offset(time: &str) -> String {
    let time = chrono::DateTime::parse_from_rfc3339(time).ok();
    let offset = time.map(|time| time.with_timezone(&chrono::Local).format("%:z").to_string());
    offset.filter(|offset| offset != "+00:00").unwrap_or_else(|| "UTC".to_owned())
}

/// A number in about five significant digits.
pub(crate) fn number(number: f64) -> String {
    let magnitude = number.abs();
    if number == 0.0 {
        "0".into()
    } else if !number.is_finite() {
        number.to_string()
    } else if number.fract() == 0.0 && magnitude < 1e9 {
        format!("{number}")
    } else if (1e-3..1e6).contains(&magnitude) {
        let digits = (4 - magnitude.log10().floor() as i32).clamp(1, 7) as usize;
        let text = format!("{number:.digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{number:.3e}")
    }
}

/// A percentile's text, marked if the percentile is not exact; a dash where it is unknown.
pub(crate) fn percentile(figure: f64, is_exact: bool, text: fn(f64) -> String) -> String {
    match (figure.is_nan(), is_exact) {
        (true, _) => "–".into(),
        (false, true) => text(figure),
        (false, false) => format!("≈{}", text(figure)),
    }
}

/// A whole number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 step", "2 steps".
pub(crate) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Bytes in the largest binary unit of which there is at least one.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// Seconds in the unit that suits them.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s => duration(Duration::from_secs_f64(s.min(1e12))),
    }
}

/// Days, hours, minutes and seconds, the two largest of them.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, _) => format!("{:.1} s", duration.as_secs_f64()),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, _, _) => format!("{days} d {hours} h"),
    }
}

/// A table without lines: the first columns to the left, numbers to the right.
pub(crate) fn table(header: &[&str], left: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if at == 0 { 2 } else { 1 }, 1));
        if !left.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The table's text, its heading faint, no blanks at the ends of lines.
pub(crate) fn table_text(table: &Table) -> String {
    let mut text = String::new();
    for (at, line) in table.to_string().lines().enumerate() {
        let line = line.trim_end();
        if at == 0 {
            text.push_str(&format!("{FAINT}{line}{PLAIN}\n"));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// How much of their magnitude the points of a chart must differ by: less is what rounding leaves of equal
/// numbers.
const LEAST_SPREAD: f64 = 1e-12;

/// A chart of one line: eight heights from the smallest value to the largest; flat if they are equal.
pub(crate) fn sparkline(points: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (low, high) = points
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &p| (low.min(p), high.max(p)));
    let is_flat = high - low <= low.abs().max(high.abs()) * LEAST_SPREAD;
    let bar = |&point: &f64| {
        let share = if is_flat { 0.5 } else { (point - low) / (high - low) };
        BARS[((share * 8.0) as usize).min(7)]
    };
    points.iter().map(bar).collect()
}

/// Whether standard error is a terminal on which a line can be redrawn.
pub(crate) fn is_live() -> bool {
    std::io::stderr().is_terminal() && std::env::var("TERM").as_deref() != Ok("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.0, 700.0, 1.83216, 0.0123456, 0.0015, 5321.5, 1.5e-5, 2.5e9, 12.0];
        let texts: Vec<String> = shown.iter().map(|&n| number(n)).collect();
        assert_eq!(
            texts,
            [
                "0", "1", "700", "1.8322", "0.012346", "0.0015", "5321.5", "1.500e-5", "2.500e9",
                "12"
            ]
        );
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(percentile(1.5, true, number), "1.5");
        assert_eq!(percentile(1.5, false, number), "≈1.5");
        assert_eq!(percentile(f64::NAN, false, number), "–");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(seconds(0.0005), "500.0 µs");
        assert_eq!(duration(Duration::from_secs(3_725)), "1 h 2 min");
        assert_eq!(sparkline(&[0.0, 1.0, 0.5]), "▁█▅");
        assert_eq!(sparkline(&[2.0]), "▅");
    }

    #[test]
    fn the_chart_of_equal_numbers_is_flat() {
        assert_eq!(sparkline(&[0.0, 0.0]), "▅▅");
        assert_eq!(sparkline(&[0.3, 0.1 + 0.2, 0.3]), "▅▅▅");
        assert_eq!(sparkline(&[-1e300, -1e300 * (1.0 + 1e-14)]), "▅▅");
        assert_eq!(sparkline(&[1e6, 1e6 + 0.001]), "▁█");
        assert_eq!(sparkline(&[-1e-300, 1e-300]), "▁█");
    }

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(plain("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(one_line("a\n  b", 10), "a b");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }

    proptest::proptest! {
        #[test]
        fn safe_text_has_no_control_of_any_kind(text in "(?s)[\\x00-\\u{a0}\\u{200e}-\\u{206f}a-z]{0,40}") {
            let is_safe = |shown: &str| !shown.chars().any(is_terminal_control);
            proptest::prop_assert!(is_safe(&plain(&text)));
            proptest::prop_assert!(is_safe(&one_line(&text, 10)));
            let lines = plain_lines(&text);
            proptest::prop_assert!(is_safe(&lines.replace(['\n', '\t'], "")));
            proptest::prop_assert_eq!(lines.lines().count(), text.split_inclusive('\n').count());
            let json = serde_json::to_string(&text).unwrap();
            let shown = plain_json(&json);
            proptest::prop_assert!(is_safe(&shown));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
