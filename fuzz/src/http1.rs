//! HTTP/1.1 by splitting at line ends: which requests stand in some bytes, and which answers.

use std::str;

/// A request whose end is beyond doubt.
#[derive(Debug, PartialEq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The target, as it came.
    pub target: String,
}

/// What can be said about the requests in a stream.
#[derive(Debug)]
pub struct Stream {
    /// In order.
    pub requests: Vec<Asked>,
    /// Behind them stands one with Transfer-Encoding: at most one more.
    pub then_chunked: Option<Asked>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Without chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// The only header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice());
        found.next().filter(|_| found.next().is_none())
    }
}

/// Takes requests off the front for as long as there is no doubt where each ends: one length or none, and no coding.
pub fn requests(mut bytes: &[u8]) -> Stream {
    let mut stream = Stream { requests: Vec::new(), then_chunked: None };
    loop {
        while let [b'\r' | b'\n', rest @ ..] = bytes {
            bytes = rest;
        }
        let Some((lines, rest)) = head(bytes) else { return stream };
        let [request_line, fields @ ..] = lines.as_slice() else { return stream };
        let mut words = request_line.split(|byte| *byte == b' ').map(|word| String::from_utf8_lossy(word).into_owned());
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return stream };
        let asked = Asked { method, target };
        let named = |name| values(fields, name);
        if !named("transfer-encoding").is_empty() {
            stream.then_chunked = Some(asked);
            return stream;
        }
        let length = match named("content-length").as_slice() {
            [] => 0,
            [value] => match number(value.trim_ascii()) {
                Some(length) => length,
                None => return stream,
            },
            _ => return stream,
        };
        stream.requests.push(asked);
        if length > rest.len() {
            return stream;
        }
        bytes = &rest[length..];
    }
}

/// Every answer in these bytes, and nothing else; `has_body` says of each, by its place, whether one may follow its head.
pub fn answers(mut bytes: &[u8], has_body: impl Fn(usize) -> bool) -> Result<Vec<Answer>, &'static str> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let (lines, rest) = head(bytes).ok_or("a head without end")?;
        let (status_line, fields) = lines.split_first().ok_or("a head without a status line")?;
        let status = status(status_line).ok_or("no status line")?;
        let headers = fields.iter().map(|field| header(field)).collect::<Option<Vec<_>>>().ok_or("no header field")?;
        if status == 100 {
            bytes = rest;
            continue;
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        bytes = rest;
        if has_body(answers.len()) && !matches!(status, 204 | 304) {
            bytes = body(&mut answer, rest)?;
        }
        answers.push(answer);
    }
    Ok(answers)
}

fn body<'a>(answer: &mut Answer, mut rest: &'a [u8]) -> Result<&'a [u8], &'static str> {
    if let Some(length) = answer.header("content-length") {
        let (body, rest) =
            rest.split_at_checked(number(length).ok_or("no length")?).ok_or("a body that is too short")?;
        answer.body = body.to_vec();
        return Ok(rest);
    }
    match answer.header("transfer-encoding") {
        Some(b"chunked") => loop {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or("a chunk without a size")?;
            let size = str::from_utf8(&rest[..end])
                .ok()
                .and_then(|text| usize::from_str_radix(text, 16).ok())
                .ok_or("no size")?;
            let (chunk, after) = rest[end + 2..].split_at_checked(size).ok_or("a chunk that is too short")?;
            rest = after.strip_prefix(b"\r\n").ok_or("a chunk without an end")?;
            answer.body.extend_from_slice(chunk);
            if size == 0 {
                return Ok(rest);
            }
        },
        Some(_) => Err("an unknown coding"),
        None => {
            answer.body = rest.to_vec();
            Ok(&[])
        }
    }
}

/// What stands behind the colon of every field of this name.
fn values<'a>(fields: &[&'a [u8]], name: &str) -> Vec<&'a [u8]> {
    let split =
        |field: &&'a [u8]| field.iter().position(|byte| *byte == b':').map(|at| (&field[..at], &field[at + 1..]));
    let named = fields.iter().filter_map(split).filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, value)| value).collect()
}

/// The lines of a head, and what follows its blank line.
fn head(mut bytes: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let mut lines = Vec::new();
    loop {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = &bytes[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        bytes = &bytes[end + 1..];
        if line.is_empty() {
            return Some((lines, bytes));
        }
        lines.push(line);
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let text = str::from_utf8(line).ok()?;
    let rest = text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "))?;
    let (code, _) = rest.split_once(' ')?;
    number(code.as_bytes()).filter(|_| code.len() == 3)?.try_into().ok()
}

fn header(field: &[u8]) -> Option<(String, Vec<u8>)> {
    let at = field.iter().position(|byte| *byte == b':')?;
    let name = str::from_utf8(&field[..at]).ok()?;
    let is_token =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    let value = field[at + 1..].trim_ascii();
    let is_clean = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    (is_token && is_clean).then(|| (name.to_ascii_lowercase(), value.to_vec()))
}

/// Digits and nothing else.
fn number(text: &[u8]) -> Option<usize> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}
