//! Format strings: how records are printed, and how what was printed becomes records.
//!
//! | token | | token | |
//! |---|---|---|---|
//! | `%s` `%v` | value | `%S` `%V` | length of the value, -1 for none |
//! | `%k` | key | `%K` | length of the key, -1 for none |
//! | `%h` | headers, `a=1,b=2` | `%H` | number of headers |
//! | `%t` | topic | `%p` | partition |
//! | `%o` | offset | `%e` | leader epoch |
//! | `%T` | timestamp in ms | `%d` | timestamp, RFC 3339 or `%d{strftime[…]}` |
//! | `%x` `%y` | producer id and epoch | `%a` | compression |
//! | `%i` | number of the record, from 1 | `%%` | a percent sign |
//! | `%[` `%]` | log start, high watermark | `%\|` | last stable offset |
//! | `%R` | length of the value in four bytes, big-endian | | |
//!
//! Values, keys and headers take `{hex}`, `{base64}`, `{json}` and `{unpack[>iq$]}` for numbers that are packed in them (`unpack`);
//! `%t{len}` is the length of the topic. `%h{%k=%v;}` prints each header by a format of its own. Numbers take `{hex64}`, `{big64}` and
//! `{little64}`, also with 32, 16 and 8 bits, `{hex4}`, `{byte}` and `{bool}`. `\n`, `\t`, `\r`, `\0`, `\\` and `\xNN` are one byte
//! each. `read` says what of it can be read back. Source: `-f` of kcat 1.7, and of rpk where it does not differ.

mod parse;
mod read;
mod unpack;
mod write;

pub(super) use parse::Template;
pub(super) use read::{Fields, RecordReader};
pub(super) use write::{Bounds, Shown, write_record};
