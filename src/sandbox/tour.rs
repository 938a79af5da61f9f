//! The demo's tour: one ready-to-paste line for every journey.

use super::token;

/// The lines, for a gateway, its admin listener and a sandbox on these ports of localhost.
pub fn lines(gateway: u16, admin: u16, sandbox: u16) -> String {
    let certificates = format!("http://localhost:{gateway}/otk-service/v1/certificates");
    let one = token(1);
    let mut lines = vec![
        "Active: the JSON an application gets today, and the JPEG itself".to_owned(),
        format!("  curl -D - -o active.json {certificates}/{one}"),
        format!("  curl -D - -o active.jpg {certificates}/{one}/image"),
        "Asked again with what is held already: 304".to_owned(),
        format!("  curl -i -H 'If-None-Match: *' {certificates}/{one}/image"),
    ];
    for (number, ends, story) in STORIES {
        // An answer that is an image goes to a file, which then holds the image and nothing else.
        let options = match ends {
            Ends::Image => format!("-D - -o journey-{number:02}.jpg"),
            Ends::Text => "-i".to_owned(),
        };
        lines.push(story.to_owned());
        lines.push(format!("  curl {options} {certificates}/{}/image", token(number)));
    }
    lines.extend([
        "Revoked live: refused at the latest max_exposure (30 s) later, and at once when asked anew".to_owned(),
        format!("  curl -X POST http://localhost:{sandbox}/sandbox/journeys/{one}/revoke"),
        format!("  curl -i -H 'Cache-Control: no-cache' {certificates}/{one}/image"),
        format!("  curl -i {certificates}/{one}"),
        format!("  curl -X POST http://localhost:{sandbox}/sandbox/journeys/{one}/activate"),
        "Another call of the upstream, passed through and its signature looked at".to_owned(),
        format!("  curl -i -X POST -d '{{}}' http://localhost:{gateway}/otk-service/v2/create-journey"),
        format!("For operators, who may also open http://localhost:{admin}/ in a browser"),
        format!("  curl http://localhost:{admin}/status"),
        format!("  curl http://localhost:{admin}/metrics"),
        format!("  curl -X POST -d '{{\"all\":true}}' http://localhost:{admin}/purge"),
        format!("  curl http://localhost:{sandbox}/sandbox/stats"),
    ]);
    lines.join("\n") + "\n"
}

enum Ends {
    Image,
    Text,
}

const STORIES: [(u8, Ends, &str); 13] = [
    (2, Ends::Text, "Revoked: 410"),
    (3, Ends::Text, "Expired: 410"),
    (4, Ends::Text, "Changed after it was signed: 502 SIGNATURE-INVALID"),
    (5, Ends::Text, "Revoked, but the image was sent: 410"),
    (6, Ends::Text, "Active by its code, past by its date: 410"),
    (7, Ends::Text, "Signed an hour ago: 502 RESPONSE-REPLAYED"),
    (8, Ends::Image, "Slow: three seconds"),
    (9, Ends::Text, "The upstream fails: 502 UPSTREAM-ERROR"),
    (10, Ends::Text, "A firewall's page: 502 UPSTREAM-FORBIDDEN"),
    (11, Ends::Text, "Not found: the upstream's own 404"),
    (12, Ends::Text, "Not signed: 502 SIGNATURE-MISSING"),
    (13, Ends::Image, "The same person as the first journey"),
    (14, Ends::Image, "800 KB"),
];
