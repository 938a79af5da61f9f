//! `otk-gateway health`: a probe that needs no shell and no curl.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Exit 0 if the admin listener at this URL answers 200.
pub fn ask(admin: &str, live: bool, timeout: Duration) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of this thread alone needs nothing");
    let path = if live { "/livez" } else { "/readyz" };
    let asked = runtime.block_on(async { tokio::time::timeout(timeout, status(admin, path)).await });
    match asked {
        Ok(Ok(200)) => ExitCode::SUCCESS,
        Ok(Ok(status)) => fail(&format!("{path} answered {status}")),
        Ok(Err(error)) => fail(&format!("{path} cannot be asked: {error}")),
        Err(_) => fail(&format!("{path} did not answer within {timeout:?}")),
    }
}

async fn status(admin: &str, path: &str) -> io::Result<u16> {
    let url: Uri = admin.parse().map_err(|_| io::Error::other("--admin takes http://HOST:PORT"))?;
    let authority = url.authority().filter(|_| url.scheme_str() == Some("http"));
    let authority = authority.ok_or_else(|| io::Error::other("--admin takes http://HOST:PORT"))?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request =
        Request::get(path).header("host", authority.as_str()).body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(answer.status().as_u16())
}

fn fail(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}
