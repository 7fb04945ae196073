//! Personal data is taken out of text before anything else sees it: which policy holds for an agent, and what was found.
//! The detection itself is `embermesh-pii`.

mod compiled;
mod detections;
mod of_tenants;
mod tally;

use std::{borrow::Cow, sync::Arc};

use compiled::Compiled;
use detections::Detections;

use embermesh_errors::{Code, Error};
use embermesh_pii::{Action, Finding, Outcome, Policy, PolicyError, Rejection, Scrubbed, Scrubber};
use embermesh_proto::v1;
use embermesh_telemetry::Metrics;
use of_tenants::OfTenants;
use serde_json::{Value, json};
pub(crate) use tally::Tally;

use crate::embeddings::{JsonObject, JsonScalar};

/// An error names this many findings; the counts tell the rest.
const MAX_FINDINGS: usize = 100;
/// No number that a word makes personal is shorter.
const FEWEST_DIGITS: usize = 7;

/// Why no scrubbing can be set up.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// The default policy cannot be enforced.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A defect in the name of a metric.
    #[error(transparent)]
    Metric(#[from] prometheus::Error),
}

/// The installation's policy, those of tenants, and what agents ask for instead, compiled once each.
#[derive(Debug)]
pub(crate) struct Scrubbing {
    installation: Compiled,
    of_tenants: OfTenants,
    detections: Detections,
}

impl Scrubbing {
    /// Compiles the installation's policy and registers `pii_detections_total`.
    pub fn new(policy: Policy, metrics: &Metrics) -> Result<Self, ScrubError> {
        let detections = Detections::new(&policy, metrics)?;
        Ok(Self { installation: Compiled::new(policy)?, of_tenants: OfTenants::default(), detections })
    }

    /// The scrubber of an agent: its own settings over the policy of its tenant, else over the installation's.
    pub fn of(
        &self,
        tenants: Option<&Arc<v1::PiiPolicy>>,
        agent: Option<&v1::Agent>,
    ) -> Result<AgentScrubber<'_>, Error> {
        let asked = agent.and_then(|agent| agent.pii.as_ref());
        let scrubber = match tenants {
            None => self.installation.of(asked)?,
            Some(policy) => self.of_tenants.compiled(policy, &self.installation)?.of(asked)?,
        };
        Ok(AgentScrubber { scrubber, detections: &self.detections })
    }
}

/// One agent's policy at work.
#[derive(Debug)]
pub(crate) struct AgentScrubber<'a> {
    scrubber: Arc<Scrubber>,
    detections: &'a Detections,
}

impl AgentScrubber<'_> {
    /// Scrubs a text that came as the field `param`.
    pub fn text<'t>(&self, param: &str, text: &'t str, tally: &mut Tally) -> Result<Cow<'t, str>, Error> {
        self.counted(param, self.scrubber.scrub(text), tally)
    }

    fn counted<'t>(
        &self,
        param: &str,
        outcome: Outcome<'t>,
        tally: &mut Tally,
    ) -> Result<Cow<'t, str>, Error> {
        match outcome {
            Outcome::Passed(scrubbed) => {
                self.count(&scrubbed.findings, tally);
                Ok(scrubbed.text)
            }
            Outcome::Rejected(rejection) => {
                self.count(&rejection.findings, tally);
                Err(rejected(param, &rejection))
            }
        }
    }

    /// Refuses a name that holds personal data: redacted, it would be another name.
    pub fn name(&self, param: &str, name: &str, tally: &mut Tally) -> Result<(), Error> {
        match self.text(param, name, tally)? {
            Cow::Owned(_) => {
                Err(untouchable(param, &format!("{param} holds personal data, use another name")))
            }
            Cow::Borrowed(_) => Ok(()),
        }
    }

    /// Scrubs the strings and numbers of metadata. A key cannot be redacted without changing what the metadata says, so one that
    /// holds personal data is refused.
    pub fn metadata(&self, metadata: JsonObject, tally: &mut Tally) -> Result<JsonObject, Error> {
        metadata.replace_scalars(|scalar| {
            let (is_key, at) = (scalar.is_key, scalar.at);
            match self
                .scalar("metadata", &scalar, tally)
                .map_err(|error| error.with_detail("string_at", at))?
            {
                Some(_) if is_key => {
                    Err(untouchable("metadata", "a metadata key holds personal data, move it to a value"))
                }
                clean => Ok(clean),
            }
        })
    }

    /// Refuses a filter that names personal data: what is stored never holds any, and a redacted filter would match the rows of
    /// other people.
    pub fn filter(&self, filter: &JsonObject, tally: &mut Tally) -> Result<(), Error> {
        let seen = filter.clone().replace_scalars(|scalar| {
            match self.scalar("metadata_filter", &scalar, tally)? {
                Some(_) => Err(untouchable(
                    "metadata_filter",
                    "the filter holds personal data, which is redacted before rows are stored: it can match none",
                )),
                None => Ok(None),
            }
        });
        seen.map(drop)
    }

    /// Scrubs a string or number of an object: as it stands, and, when there is nothing to be found in it alone, beside the name of the
    /// member that holds it, or of the one around that. Some numbers are known by a word nearby only, which here is the name.
    fn scalar(
        &self,
        param: &str,
        scalar: &JsonScalar<'_>,
        tally: &mut Tally,
    ) -> Result<Option<String>, Error> {
        let text = &*scalar.text;
        let is_number = !scalar.is_key && text.chars().filter(|c| c.is_numeric()).count() >= FEWEST_DIGITS;
        let outcome = match self.scrubber.scrub(text) {
            Outcome::Passed(alone) if is_number && alone.findings.is_empty() => {
                let names = scalar.within.iter().rev().take(2);
                names.filter_map(|name| self.beside(name, text)).next().unwrap_or(Outcome::Passed(alone))
            }
            outcome => outcome,
        };
        Ok(match self.counted(param, outcome, tally)? {
            Cow::Owned(clean) => Some(clean),
            Cow::Borrowed(_) => None,
        })
    }

    /// What becomes of a text beside a name, unless nothing is found in the text. What is found in the name is the name's.
    fn beside<'t>(&self, name: &str, text: &'t str) -> Option<Outcome<'t>> {
        let named = format!("{name}: {text}");
        let head = named.len() - text.len();
        let of_text = |mut findings: Vec<Finding>| {
            findings.retain(|finding| finding.start >= head);
            for finding in &mut findings {
                (finding.start, finding.end) = (finding.start - head, finding.end - head);
            }
            (!findings.is_empty()).then_some(findings)
        };
        match self.scrubber.scrub(&named) {
            Outcome::Rejected(rejection) => {
                of_text(rejection.findings).map(|findings| Outcome::Rejected(Rejection { findings }))
            }
            Outcome::Passed(scrubbed) => {
                let findings = of_text(scrubbed.findings)?;
                let clean = scrubbed.text.strip_prefix(&named[..head])?;
                let text = if clean == text { Cow::Borrowed(text) } else { Cow::Owned(clean.to_owned()) };
                Some(Outcome::Passed(Scrubbed { text, findings }))
            }
        }
    }

    /// What an answer says about the scrubbing.
    pub fn report(&self, tally: Tally) -> v1::PiiReport {
        v1::PiiReport {
            action: self.scrubber.action().as_str().to_owned(),
            counts: tally.into_counts(),
            policy_version: self.scrubber.version().to_owned(),
        }
    }

    fn count(&self, findings: &[Finding], tally: &mut Tally) {
        for finding in findings {
            self.detections.count(&finding.entity, finding.action);
            tally.add(&finding.entity);
        }
    }
}

fn untouchable(param: &str, message: &str) -> Error {
    Error::new(Code::PiiRejected, message).with_param(param)
}

fn rejected(param: &str, rejection: &Rejection) -> Error {
    let refused = || rejection.findings.iter().filter(|finding| finding.action == Action::Reject);
    let shown: Vec<Value> = refused()
        .take(MAX_FINDINGS)
        .map(|finding| json!({"entity": finding.entity.as_str(), "start": finding.start, "end": finding.end}))
        .collect();
    Error::new(Code::PiiRejected, rejection.to_string())
        .with_param(param)
        .with_detail("findings", shown)
        .with_detail("count", refused().count())
}

#[cfg(test)]
mod tests;
