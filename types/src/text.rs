//! Text that others control, on terminals.

/// Whether a character could steer a terminal, begin a line, or change the direction of the text around it: a control
/// character of any kind (C0, DEL, C1), a line separator, or one of Unicode's bidirectional controls.
pub fn is_terminal_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Text on one line that is safe to print: such characters are escaped.
pub fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        c if is_terminal_control(c) => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}
