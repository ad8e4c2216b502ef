//! The header block of a command's answer: RFC 3875, section 6.

use http::response::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

/// Of the whole block, with the empty line that ends it.
pub(crate) const BLOCK_BYTES_MAX: usize = 32 << 10;
/// What is shown of a line that is wrong.
const SHOWN_CHARS: usize = 80;

/// Where the block ends, behind its empty line; `None` if it goes on. What lies before `from` was looked at.
pub(crate) fn end(block: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = block[at..].iter().position(|byte| *byte == b'\n') {
        let newline = at + found;
        let line = block[..newline].strip_suffix(b"\r").unwrap_or(&block[..newline]);
        if line.is_empty() || line.ends_with(b"\n") {
            return Some(newline + 1);
        }
        at = newline + 1;
    }
    None
}

/// What a whole block says, or what is wrong with it.
pub(crate) fn parse(block: &[u8]) -> Result<Parts, String> {
    let (mut parts, ()) = Response::new(()).into_parts();
    let mut status = None;
    for (at, line) in block.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let wrong = |why: &str| format!("line {} of its header block {why}: {:?}", at + 1, shown(line));
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = colon.map(|colon| (&line[..colon], line[colon + 1..].trim_ascii())).ok_or_else(|| {
            if line.starts_with(b"HTTP/") {
                return wrong("is a status line of HTTP; a CGI program writes `Status: 404 Not Found`");
            }
            wrong("is not `Name: value`; stdout is the answer, and what is to be logged goes to stderr")
        })?;
        let name = HeaderName::from_bytes(name).map_err(|_| wrong("does not begin with the name of a header"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| wrong("has a value that no header can have"))?;
        if name.as_str() != "status" {
            parts.headers.try_append(name, value).map_err(|_| wrong("is one too many"))?;
            continue;
        }
        let code = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
        let code = StatusCode::from_bytes(code).map_err(|_| wrong("is not `Status: ` and three digits"))?;
        if status.replace(code).is_some() {
            return Err(wrong("is a second status"));
        }
    }
    let has = |name| parts.headers.contains_key(name);
    if status.is_none() && !has(header::CONTENT_TYPE) && !has(header::LOCATION) {
        return Err("its header block has neither Content-Type nor Status nor Location".into());
    }
    parts.status = status.unwrap_or(if has(header::LOCATION) { StatusCode::FOUND } else { StatusCode::OK });
    Ok(parts)
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_with_an_empty_line_however_it_comes() {
        for (block, expected) in [
            ("a: b\n\nrest", Some(6)),
            ("a: b\r\n\r\nrest", Some(8)),
            ("a: b\n\r\nrest", Some(7)),
            ("\nrest", Some(1)),
            ("\r\n", Some(2)),
            ("a: b\n", None),
            ("a: b\r\n\r", None),
            ("a\n b\nc\r\rd\n", None),
            ("", None),
        ] {
            assert_eq!(end(block.as_bytes(), 0), expected, "{block:?}");
            // In pieces of one byte.
            let found = (1..=block.len()).find_map(|length| end(&block.as_bytes()[..length], length - 1));
            assert_eq!(found, expected, "{block:?}");
        }
    }

    #[test]
    fn blocks_say_status_and_headers() {
        let said = |block: &str| parse(block.as_bytes()).map(|parts| (parts.status.as_u16(), parts.headers));
        assert_eq!(said("Content-Type: text/plain\n\n").unwrap().0, 200);
        assert_eq!(said("Status: 404 Not Found\r\nX: a\r\nx: b\r\n\r\n").unwrap().0, 404);
        assert_eq!(said("Location: /there\n\n").unwrap().0, 302);
        assert_eq!(said("Location: /there\nstatus:301\n\n").unwrap().0, 301);
        let headers = said("Content-Type:text/plain \nSet-Cookie: a=b\nSet-Cookie: c=d\n\n").unwrap().1;
        assert_eq!(
            (&headers["content-type"], headers.get_all("set-cookie").iter().count()),
            (&"text/plain".parse().unwrap(), 2)
        );
        for (block, why) in [
            ("hello\n\n", "line 1 of its header block is not `Name: value`"),
            ("Content-Type: a\noops\n\n", "line 2 of its header block is not `Name: value`"),
            ("HTTP/1.1 200 OK\n\n", "is a status line of HTTP"),
            ("Content-Type: a\n b\n\n", "line 2"),
            ("a b: c\n\n", "does not begin with the name of a header"),
            (": c\n\n", "does not begin with the name of a header"),
            ("a: \u{1}\n\n", "has a value that no header can have"),
            ("Status: abc\n\n", "is not `Status: ` and three digits"),
            ("Status: 20\n\n", "three digits"),
            ("Status: 200\nStatus: 200\n\n", "is a second status"),
            ("X-Other: a\n\n", "neither Content-Type nor Status nor Location"),
            ("\n", "neither Content-Type nor Status nor Location"),
        ] {
            let refused = said(block).unwrap_err();
            assert!(refused.contains(why), "{block:?}: {refused}");
        }
    }
}
