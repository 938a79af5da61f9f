#!/usr/bin/env bash
# Five mutants of the rules, each of which the model test must kill; prints after how many histories.
#
# Each is one substitution in a copy of the tree. A mutant that no longer applies, or that survives, fails this script.
set -euo pipefail
cd "$(dirname "$0")/../.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/mutants"
survivors=0

mutant() { # NAME (FILE PERL-SUBSTITUTION)...
  local name="$1" out
  rm -rf "$work/tree" && mkdir "$work/tree"
  git ls-files -z -- Cargo.toml Cargo.lock src tests | xargs -0 cp --parents -t "$work/tree"
  shift
  while (($#)); do
    perl -0pi -e "$2" "$work/tree/$1"
    if cmp -s "$1" "$work/tree/$1"; then echo "$name: does not apply to $1"; survivors=1; return; fi
    shift 2
  done
  if out="$(cd "$work/tree" && cargo test --quiet --test model 2>&1)"; then
    echo "$name: SURVIVES"; survivors=1
  elif grep -aq 'could not compile' <<<"$out"; then
    echo "$name: does not compile"; survivors=1
  else
    echo "$name: killed by $(grep -ao 'history [0-9]*' <<<"$out" | head -1)"
  fi
}

mutant 'no roll-back check' \
  src/release.rs 's/this_person\(&answer\.authentic, seen\)\?;\n    in_order\([^\n]*\n/this_person(&answer.authentic, seen)\n/'
mutant 'no index by person' \
  src/cache/marks.rs 's/person\.or\(answer\.authentic\.claims\(\)\.person\)\.map\(Scope::Person\)/None/'
mutant 'age renewed by a failed call' \
  src/gateway.rs 's/Err\(error\) => Landed::Refused/Err(error) => { self.cache.renew(&token, self.clock.now()); Landed::Refused/; s/(retry_after: error\.retry_after\(\) \}\)),/$1 }/' \
  src/cache.rs 's/impl Cache \{/impl Cache {\n    pub fn renew(&self, token: &JourneyToken, sent: Moment) {\n        if let Some(held) = self.answers.get(token) {\n            let call = Call { sent, ..held.call };\n            self.answers.insert(*token, Arc::new(Answer { authentic: held.authentic.clone(), call }));\n        }\n    }\n/'
mutant '304 without a permit' \
  src/release.rs 's/let unchanged = !seen\.changed;/let unchanged = true;/'
mutant 'expiry judged at insert' \
  src/release.rs 's/now\.wall\(\)\.max\(signed\) < certificate/answer.call.received.wall().max(signed) < certificate/'
exit "$survivors"
