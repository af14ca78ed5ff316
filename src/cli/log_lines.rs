//! Standard error for log lines: an event is a line, whatever clients have put into the names that it tells.

use std::borrow::Cow;
use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Makes writers that each take whole events, as the subscriber writes them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogLines;

#[derive(Debug)]
pub(super) struct LogLine;

impl MakeWriter<'_> for LogLines {
    type Writer = LogLine;

    fn make_writer(&self) -> LogLine {
        LogLine
    }
}

impl Write for LogLine {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&in_one_line(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The event with its ends of lines escaped, but for the last. Other control characters are the subscriber's to escape.
fn in_one_line(event: &[u8]) -> Cow<'_, [u8]> {
    let (text, end) = event.strip_suffix(b"\n").map_or((event, &b""[..]), |text| (text, b"\n"));
    if !text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(event);
    }
    let mut line = Vec::with_capacity(event.len() + 8);
    for byte in text {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => line.push(*byte),
        }
    }
    line.extend_from_slice(end);
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        for (event, line) in [
            ("INFO joined group=g\n", "INFO joined group=g\n"),
            ("INFO joined group=a\nERROR\r\nb\n", "INFO joined group=a\\nERROR\\r\\nb\n"),
            ("no end", "no end"),
            ("\n", "\n"),
            ("", ""),
        ] {
            assert_eq!(in_one_line(event.as_bytes()), line.as_bytes());
        }
    }
}
