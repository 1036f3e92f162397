use super::bindings::exports::model_foundry::logging::verification as exported;
use super::bindings::model_foundry::logging::files;
use super::{Component, Host, types};
use crate::verification;

impl exported::Guest for Component {
    fn check(file: files::File, part: files::Part) -> Result<exported::Report, types::Error> {
        let report = verification::check(&Host, file.into(), part.into())?;
        let findings = report.findings.into_iter().map(|finding| exported::Finding {
            line: finding.line,
            offset: finding.offset,
            length: finding.length,
            problem: finding.problem,
        });
        Ok(exported::Report {
            good_lines: report.good_lines,
            findings: findings.collect(),
            more: report.more,
        })
    }
}
