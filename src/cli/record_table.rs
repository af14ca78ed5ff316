//! Records as rows of a table for people. Rows come as they are read, so columns have their widths before the first one.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::output::shown;
use super::template::Shown;

/// The widths of its columns.
#[derive(Debug)]
pub(super) struct RecordTable {
    /// None without a column for the topic.
    topic: Option<usize>,
    /// Of a row; none if there is no edge where it has to end.
    width: Option<usize>,
}

const PARTITION: usize = 9;
const OFFSET: usize = 10;
const TIME: usize = 23;
const KEY: usize = 20;
/// The least of a value that is shown.
const VALUE_MIN: usize = 10;

impl RecordTable {
    /// With a column for the topic if there are several. What does not fit in `width` is cut.
    pub(super) fn new(topics: &[String], width: Option<usize>) -> Self {
        let longest = topics.iter().map(String::len).max().unwrap_or_default();
        let topic = (topics.len() > 1).then(|| longest.max("TOPIC".len()));
        Self { topic, width }
    }

    /// Prints the names of the columns.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write_head(&self, out: &mut impl Write) -> io::Result<()> {
        self.write_row("TOPIC", "PARTITION", "OFFSET", "TIME", "KEY", "VALUE", out)
    }

    /// Prints a record.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write(&self, record: &Shown<'_>, out: &mut impl Write) -> io::Result<()> {
        let (partition, offset) = (record.partition.to_string(), record.record.offset.to_string());
        let time = time_of(record.record.timestamp.0);
        let key = preview(record.record.key, self.width.map(|_| KEY));
        let before = self.topic.map_or(0, |width| width + 2) + PARTITION + OFFSET + TIME + KEY + 8;
        let room = self.width.map(|width| width.saturating_sub(before).max(VALUE_MIN));
        let value = preview(record.record.value, room);
        self.write_row(record.topic, &partition, &offset, &time, &key, &value, out)
    }

    #[expect(clippy::too_many_arguments, reason = "one for each column")]
    fn write_row(
        &self,
        topic: &str,
        partition: &str,
        offset: &str,
        time: &str,
        key: &str,
        value: &str,
        out: &mut impl Write,
    ) -> io::Result<()> {
        if let Some(width) = self.topic {
            write!(out, "{topic:width$}  ")?;
        }
        let row =
            format!("{partition:PARTITION$}  {offset:OFFSET$}  {time:TIME$}  {key:KEY$}  {value}");
        writeln!(out, "{}", row.trim_end())
    }
}

fn time_of(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(time) => {
            let local = time.to_zoned_datetime(TimeZone::system());
            local.strftime("%F %T%.3f").to_string()
        }
        Err(_) => millis.to_string(),
    }
}

/// The beginning of a text on one line, at most so many letters; `-` for none.
fn preview(bytes: Option<&[u8]>, room: Option<usize>) -> String {
    let Some(bytes) = bytes else { return "-".to_owned() };
    let Some(room) = room else { return shown(&String::from_utf8_lossy(bytes)) };
    // A letter has at most four bytes: what is behind these is not seen.
    let seen = bytes.get(..4 * room + 4).unwrap_or(bytes);
    let text = shown(&String::from_utf8_lossy(seen));
    if text.chars().count() <= room {
        return text;
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_one_line_and_has_its_room() {
        let preview = |text: &str, room| preview(Some(text.as_bytes()), room);
        assert_eq!(preview("abc", Some(3)), "abc");
        assert_eq!(preview("abcd", Some(3)), "ab…");
        assert_eq!(preview("äöüß", Some(3)), "äö…");
        assert_eq!(preview(&"ä".repeat(1000), Some(4)), "äää…");
        assert_eq!(preview("a\nb\u{1b}[2J", None), "a\\nb\\u{1b}[2J");
        assert_eq!(super::preview(None, Some(3)), "-");
        assert_eq!(super::preview(Some(b"\xff\x00"), None), "\u{fffd}\\u{0}");
    }
}
