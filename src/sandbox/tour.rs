//! The demo's tour: one ready-to-paste line for every journey.

use super::token;

/// The lines, for a gateway, its admin listener and a sandbox on these ports of localhost.
pub fn lines(gateway: u16, admin: u16, sandbox: u16) -> String {
    let certificates = format!("http://localhost:{gateway}/otk-service/v1/certificates");
    let one = token(1);
    let mut lines = vec![
        "Active: the JSON an application gets today, and the JPEG itself".to_owned(),
        format!("  curl -i {certificates}/{one} --output active.json --dump-header -"),
        format!("  curl -i {certificates}/{one}/image --output active.jpg --dump-header -"),
        "Asked again with what is held already: 304".to_owned(),
        format!("  curl -i -H 'If-None-Match: *' {certificates}/{one}/image"),
    ];
    for (number, story) in STORIES {
        lines.push(story.to_string());
        lines.push(format!(
            "  curl -i {certificates}/{}/image --output journey-{number:02}.out --dump-header -",
            token(number)
        ));
    }
    lines.extend([
        "Revoked live: refused at the latest max_exposure (30 s) later, and at once when asked anew".to_owned(),
        format!("  curl -X POST http://localhost:{sandbox}/sandbox/journeys/{one}/revoke"),
        format!("  curl -i -H 'Cache-Control: no-cache' {certificates}/{one}/image"),
        format!("  curl -i {certificates}/{one}"),
        format!("  curl -X POST http://localhost:{sandbox}/sandbox/journeys/{one}/activate"),
        "Another call of the upstream, passed through and its signature looked at".to_owned(),
        format!("  curl -i -X POST -d '{{}}' http://localhost:{gateway}/otk-service/v2/create-journey"),
        "For operators".to_owned(),
        format!("  curl http://localhost:{admin}/status"),
        format!("  curl http://localhost:{admin}/metrics"),
        format!("  curl -X POST -d '{{\"all\":true}}' http://localhost:{admin}/purge"),
        format!("  curl http://localhost:{sandbox}/sandbox/stats"),
    ]);
    lines.join("\n") + "\n"
}

const STORIES: [(u8, &str); 13] = [
    (2, "Revoked: 410"),
    (3, "Expired: 410"),
    (4, "Changed after it was signed: 502 SIGNATURE-INVALID"),
    (5, "Revoked, but the image was sent: 410"),
    (6, "Active by its code, past by its date: 410"),
    (7, "Signed an hour ago: 502 RESPONSE-REPLAYED"),
    (8, "Slow: three seconds"),
    (9, "The upstream fails: 502 UPSTREAM-ERROR"),
    (10, "A firewall's page: 502 UPSTREAM-FORBIDDEN"),
    (11, "Not found: the upstream's own 404"),
    (12, "Not signed: 502 SIGNATURE-MISSING"),
    (13, "The same person as the first journey"),
    (14, "800 KB"),
];
