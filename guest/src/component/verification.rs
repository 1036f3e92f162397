use super::bindings::exports::model_foundry::logging::verification as exported;
use super::{Component, Host, imported};
use crate::verification;

impl exported::Guest for Component {
    fn check(
        file: imported::files::File,
        part: imported::files::Part,
    ) -> Result<exported::Report, imported::types::Error> {
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
