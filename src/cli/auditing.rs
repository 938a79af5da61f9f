//! `audit verify` and `audit prove`: files in, findings out.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::{CLEAN, FAILED, MISUSED, Prove, say};
use crate::audit::Names;
use crate::audit::prove::{self, Named};
use crate::certificate::JourneyToken;
use crate::config::{self, Secret, Source, Surroundings};

/// Clean exactly if the chain holds.
pub fn verify(file: &Path) -> u8 {
    let Some(file) = open(file) else { return FAILED };
    concluded(prove::verify(file, &mut io::stdout().lock()))
}

/// Clean exactly if the files are a whole chain and no image left after a revocation was observed.
pub fn prove(args: &Prove) -> u8 {
    let journey = match name(args) {
        Ok(journey) => journey,
        Err(why) => {
            say(&mut io::stderr(), &format!("error: {why}"));
            return MISUSED;
        }
    };
    let Some(files) = args.files.iter().map(|file| open(file)).collect::<Option<Vec<_>>>() else { return FAILED };
    concluded(prove::prove(&journey, files, &mut io::stdout().lock()))
}

/// What the journey is called in the record.
fn name(args: &Prove) -> Result<String, String> {
    let given = args.journey.to_ascii_lowercase();
    if given.len() == 32 && given.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(given);
    }
    let token = JourneyToken::parse(&given).ok_or("--journey takes a UUID v4, or a name from the record")?;
    Ok(Names::under(key(args)?.expose()).of(&token))
}

fn key(args: &Prove) -> Result<Secret, String> {
    let surroundings = Surroundings::process();
    if let Some(file) = &args.pseudonym_key_file {
        let key = Secret::read(&Source::File(file.clone()), &surroundings);
        return key.map_err(|why| format!("--pseudonym-key-file {why}"));
    }
    let missing = "a token is found in a record by the operator's key: give --pseudonym-key-file, or --config of a gateway \
                   that has audit.pseudonym_key_file; or give --journey the name from the record";
    let config = args.config.as_ref().ok_or(missing)?;
    let loaded = config::load(config, &surroundings).map_err(|refused| refused.to_string())?;
    Ok(loaded.config.audit.pseudonym_key.ok_or(missing)?.secret)
}

fn open(file: &Path) -> Option<Named<Box<dyn BufRead>>> {
    if file == Path::new("-") {
        return Some(Named { name: "stdin".to_owned(), lines: Box::new(BufReader::new(io::stdin())) });
    }
    let name = file.display().to_string();
    match File::open(file) {
        Ok(opened) => Some(Named { name, lines: Box::new(BufReader::new(opened)) }),
        Err(error) => {
            say(&mut io::stderr(), &format!("error: {name} cannot be read: {}", error.kind()));
            None
        }
    }
}

fn concluded(holds: io::Result<bool>) -> u8 {
    match holds {
        Ok(true) => CLEAN,
        Ok(false) => FAILED,
        Err(error) => {
            say(&mut io::stderr(), &format!("error: {}", error.kind()));
            FAILED
        }
    }
}
