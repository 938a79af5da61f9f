//! `health` and `reload`: one question to a running gateway's admin listener, for images without a shell.
//!
//! Never: a proxy, a redirect, a second try. `localhost` is asked on both loopback addresses, because the gateway may have
//! found only one of them; the first that takes the connection is the one that is judged.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{CLEAN, FAILED, Health, MISUSED, Reload, say};

/// Asks. The exit code is clean exactly if the answer was 200; why not is told on `err`.
pub async fn health(args: &Health, err: &mut impl Write) -> u8 {
    let path = if args.live { "/livez" } else { "/readyz" };
    let wrong = match tokio::time::timeout(args.timeout, ask(&args.admin, Method::GET, path)).await {
        Ok(Ok((StatusCode::OK, _))) => return CLEAN,
        Ok(Ok((status, _))) => format!("{path} answered {}", status.as_u16()),
        Ok(Err(why)) => why,
        Err(_) => format!("{path} did not answer in time"),
    };
    say(err, &format!("error: {wrong}"));
    FAILED
}

/// Asks the gateway to read its configuration again; tells what has to wait for a restart, or what is wrong.
pub async fn reload(args: &Reload, out: &mut impl Write, err: &mut impl Write) -> u8 {
    let answered = match tokio::time::timeout(RELOAD_TIMEOUT, ask(&args.admin, Method::POST, "/reload")).await {
        Ok(answered) => answered,
        Err(_) => Err("/reload did not answer in time".to_owned()),
    };
    let (status, body) = match answered {
        Ok(answered) => answered,
        Err(why) => {
            say(err, &format!("error: {why}"));
            return FAILED;
        }
    };
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let listed = |member: &str| {
        let listed = body[member].as_array().into_iter().flatten();
        listed.filter_map(|entry| Some(entry.as_str()?.to_owned())).collect::<Vec<_>>()
    };
    listed("warnings").iter().for_each(|warning| say(err, &format!("warning: {warning}")));
    match status {
        StatusCode::OK => {
            say(out, "the configuration was read again and is in force");
            listed("restart_needed").iter().for_each(|key| say(out, &format!("{key} takes effect after a restart")));
            CLEAN
        }
        StatusCode::UNPROCESSABLE_ENTITY => {
            listed("complaints").iter().for_each(|complaint| say(err, &format!("error: {complaint}")));
            say(err, "the old configuration stays in force");
            MISUSED
        }
        status => {
            say(err, &format!("error: /reload answered {}", status.as_u16()));
            FAILED
        }
    }
}

async fn ask(admin: &Uri, method: Method, path: &str) -> Result<(StatusCode, Bytes), String> {
    let stream = connect(admin).await?;
    let no_http = |error: hyper::Error| format!("no HTTP answer ({error})");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(no_http)?;
    let authority = admin.authority().map_or("localhost", http::uri::Authority::as_str);
    let prefix = admin.path().trim_end_matches('/');
    let request = Request::builder()
        .method(method)
        .uri(format!("{prefix}{path}"))
        .header(header::HOST, authority)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("no such address ({error})"))?;
    let driver = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.map_err(no_http)?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| "the answer broke off".to_owned())?;
    driver.abort();
    Ok((head.status, body.to_bytes()))
}

async fn connect(admin: &Uri) -> Result<TcpStream, String> {
    let mut last = "the name has no address".to_owned();
    for address in addresses(admin).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("cannot connect to {address} ({})", error.kind()),
        }
    }
    Err(last)
}

async fn addresses(admin: &Uri) -> Result<Vec<SocketAddr>, String> {
    let host = admin.host().unwrap_or("localhost");
    let port = admin.port_u16().unwrap_or(80);
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    found.map(Iterator::collect).map_err(|error| format!("cannot resolve the host ({})", error.kind()))
}

/// A configuration is read in milliseconds; its files may be slow.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

const MAX_ANSWER: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes; what it was asked comes back.
    async fn gateway(listener: TcpListener, answer: &'static str) -> String {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.expect("a whole head");
            asked.push(byte);
        }
        stream.write_all(answer.as_bytes()).await.expect("written");
        String::from_utf8(asked).expect("text").to_ascii_lowercase()
    }

    async fn asked(admin: String, live: bool) -> (u8, String) {
        let mut err = Vec::new();
        let args = Health { admin: admin.parse().expect("a URL"), live, timeout: Duration::from_secs(20) };
        let code = health(&args, &mut err).await;
        (code, String::from_utf8(err).expect("text"))
    }

    async fn listener(ip: IpAddr) -> Option<(TcpListener, u16)> {
        let listener = TcpListener::bind((ip, 0)).await.ok()?;
        let port = listener.local_addr().ok()?.port();
        Some((listener, port))
    }

    #[tokio::test]
    async fn only_200_is_healthy() {
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", (CLEAN, "")),
            ("HTTP/1.1 204 No Content\r\n\r\n", (FAILED, "error: /readyz answered 204\n")),
            (
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}",
                (FAILED, "error: /readyz answered 503\n"),
            ),
        ] {
            let (listener, port) = listener(Ipv4Addr::LOCALHOST.into()).await.expect("a port");
            let gateway = tokio::spawn(gateway(listener, answer));
            let (code, err) = asked(format!("http://127.0.0.1:{port}"), false).await;
            assert_eq!((code, err.as_str()), wanted);
            let head = gateway.await.expect("asked");
            assert!(
                head.starts_with("get /readyz http/1.1\r\n") && head.contains(&format!("host: 127.0.0.1:{port}")),
                "{head}"
            );
        }
    }

    #[tokio::test]
    async fn localhost_is_either_loopback_address() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let Some((listener, port)) = listener(ip).await else {
                continue; // this machine has no such address
            };
            let gateway = tokio::spawn(gateway(listener, "HTTP/1.1 200 OK\r\n\r\n"));
            assert_eq!(asked(format!("http://localhost:{port}"), true).await, (CLEAN, String::new()));
            assert!(gateway.await.expect("asked").starts_with("get /livez "));
        }
    }

    #[tokio::test]
    async fn silence_and_absence_are_failures() {
        let (quiet, port) = listener(Ipv4Addr::LOCALHOST.into()).await.expect("a port");
        let args = Health {
            admin: format!("http://127.0.0.1:{port}").parse().expect("a URL"),
            live: false,
            timeout: Duration::from_millis(50),
        };
        let mut err = Vec::new();
        assert_eq!(health(&args, &mut err).await, FAILED);
        assert_eq!(err, b"error: /readyz did not answer in time\n");
        drop(quiet);
        let (code, err) = asked(format!("http://127.0.0.1:{port}"), false).await;
        assert_eq!(code, FAILED);
        assert!(err.contains("cannot connect") || err.contains("no HTTP answer"), "{err}");
    }
}
