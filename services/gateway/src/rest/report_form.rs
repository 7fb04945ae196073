//! The two forms of a cost report: JSON like every other answer, and CSV for spreadsheets. Which one is said by the field `format`,
//! of which the services behind the edge know nothing.

use std::fmt::Write;

use axum::{body::Body, response::Response};
use embermesh_errors::Error;
use embermesh_proto::v1::{CostReport, CostReportRow};
use embermesh_types::NanoUsd;
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use tonic::Status;

use super::answer;
use crate::http::Failure;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportForm {
    Json,
    Csv,
}

impl ReportForm {
    /// Takes the form out of a request. JSON unless it is said.
    pub(super) fn take(format: &mut Option<String>) -> Result<Self, Error> {
        match format.take().as_deref() {
            None | Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            Some(_) => Err(Error::invalid("format", "choose from json, csv")),
        }
    }

    /// A service's answer in this form.
    pub(super) fn answer(
        self,
        status: StatusCode,
        report: Result<tonic::Response<CostReport>, Status>,
    ) -> Result<Response, Failure> {
        if self == Self::Json {
            return answer(status, report);
        }
        let mut response = Response::new(Body::from(table(report?.get_ref())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"costs.csv\""));
        Ok(response)
    }
}

/// RFC 4180: a header, then a line for each row. There is no line of sums, which would be added up once more.
fn table(report: &CostReport) -> String {
    let mut table = format!("{},cost_usd,request_count,tokens_used,cached_count\r\n", report.group_by);
    for row in &report.rows {
        let CostReportRow { key, cost_nano_usd, request_count, tokens_used, cached_count } = row;
        let cost = NanoUsd(*cost_nano_usd);
        // writing to a string cannot fail
        let _ = write!(table, "{},{cost},{request_count},{tokens_used},{cached_count}\r\n", field(key));
    }
    table
}

/// Quoted where it has to be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn report() -> CostReport {
        let row = |key: &str, nanos| CostReportRow {
            key: key.to_owned(),
            cost_nano_usd: nanos,
            request_count: 2,
            tokens_used: 30,
            cached_count: 4,
        };
        let rows = vec![row("plain-1", 9_007_199_254_740_993), row("a \"b\", c", 1), row("free", 0)];
        CostReport { group_by: "model".to_owned(), rows, ..CostReport::default() }
    }

    #[test]
    fn a_table_is_exact_to_the_nano_dollar_and_quotes_what_would_break_it() {
        let lines = [
            "model,cost_usd,request_count,tokens_used,cached_count\r\n",
            // more digits than a float holds
            "plain-1,9007199.254740993,2,30,4\r\n",
            "\"a \"\"b\"\", c\",0.000000001,2,30,4\r\n",
            "free,0,2,30,4\r\n",
        ];
        assert_eq!(table(&report()), lines.concat());
    }

    #[test]
    fn the_form_stays_at_the_edge_and_an_unknown_one_is_refused() {
        for (said, form) in
            [(None, ReportForm::Json), (Some("json"), ReportForm::Json), (Some("csv"), ReportForm::Csv)]
        {
            let mut format = said.map(str::to_owned);
            assert_eq!(ReportForm::take(&mut format), Ok(form));
            assert_eq!(format, None);
        }
        let error = ReportForm::take(&mut Some("xml".to_owned())).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("format"));
    }

    #[tokio::test]
    async fn each_form_says_what_it_is_and_a_failure_is_one_in_both() {
        for (form, kind, begins) in [
            (ReportForm::Json, "application/json", "{\"group_by\":\"model\","),
            (ReportForm::Csv, "text/csv; charset=utf-8; header=present", "model,cost_usd,"),
        ] {
            let answered = form.answer(StatusCode::OK, Ok(tonic::Response::new(report()))).unwrap();
            assert_eq!(answered.headers()[CONTENT_TYPE], kind);
            let body = answered.into_body().collect().await.unwrap().to_bytes();
            assert!(body.starts_with(begins.as_bytes()), "{body:?}");
            let refused = form.answer(StatusCode::OK, Err(Error::invalid("from", "no").into())).unwrap_err();
            assert_eq!(refused.0.param.as_deref(), Some("from"));
        }
    }
}
