//! A Prometheus of the test's own that scrapes a system of five processes every second.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::running::{Process, Running, SERVICES, free_port, root, wait_until};

/// One series over a range, a value for each second; `None` where it was not there.
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub values: Vec<Option<f64>>,
}

impl Series {
    pub fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.labels["__name__"] == name
            && labels.iter().all(|(label, value)| self.labels.get(*label).is_some_and(|of| of == value))
    }
}

pub struct Prometheus {
    url: String,
    http: reqwest::Client,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes and evaluates `rules` each second, and waits until it has every service of `running`.
    pub async fn start(running: &Running, rules: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config =
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\nscrape_configs:\n"
                .to_owned();
        for service in SERVICES {
            // jobs are named as in monitoring/prometheus.yaml; an instance without its port is the same in every run
            config.push_str(&format!(
                "  - job_name: embermesh-{service}\n    static_configs: [{{targets: ['127.0.0.1:{}'], labels: {{instance: {service}}}}}]\n",
                running.port(service)
            ));
        }
        std::fs::write(folder.path().join("prometheus.yaml"), config).unwrap();
        std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", folder.path().join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--web.enable-admin-api", "--log.level=warn"]);
        let found = Command::new("prometheus").arg("--version").output();
        assert!(found.is_ok(), "prometheus is not on the PATH: run scripts/setup.sh --tests");
        let process = Process::spawn(command, folder.path().join("prometheus.log"));
        let url = format!("http://127.0.0.1:{port}/api/v1");
        let this = Self { url, http: reqwest::Client::new(), _process: process, _folder: folder };
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        wait_until(|| async {
            this.http.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        wait_until(|| async { this.query("up == 1").await.len() == SERVICES.len() }).await;
        this
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let form: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = self
            .http
            .post(format!("{}/{path}", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.join("&"));
        let text = request.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(answer["status"], "success", "{path} {parameters:?}: {text}");
        answer["data"].clone()
    }

    /// The answer to an instant query, as Prometheus gives it.
    pub async fn query(&self, expression: &str) -> Vec<Value> {
        self.ask("query", &[("query", expression)]).await["result"].as_array().unwrap().clone()
    }

    /// What time it is there, in seconds.
    pub async fn now(&self) -> f64 {
        self.ask("query", &[("query", "time()")]).await["result"][1].as_str().unwrap().parse().unwrap()
    }

    /// A query over a range, second by second.
    pub async fn range(&self, expression: &str, from: f64, to: f64) -> Vec<Series> {
        let (start, end) = (from.floor().to_string(), to.floor().to_string());
        let asked = [("query", expression), ("start", &start), ("end", &end), ("step", "1")];
        let answer = self.ask("query_range", &asked).await;
        let seconds = (to.floor() - from.floor()) as usize + 1;
        answer["result"].as_array().unwrap().iter().map(|of| series(of, from.floor(), seconds)).collect()
    }

    /// Names of the alerts that fire now.
    pub async fn firing(&self) -> BTreeSet<String> {
        let firing = self.query("ALERTS{alertstate='firing'}").await;
        firing.iter().map(|of| of["metric"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// Forgets the samples of these series up to a time, as if so long ago that no range reaches them.
    pub async fn forget(&self, selectors: &[&str], until: f64) {
        for selector in selectors {
            let path = format!(
                "{}/admin/tsdb/delete_series?match[]={}&start=0&end={until:.3}",
                self.url,
                encoded(selector)
            );
            assert_eq!(self.http.post(path).send().await.unwrap().status(), 204);
        }
    }
}

fn series(of: &Value, from: f64, seconds: usize) -> Series {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let labels =
        of["metric"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let mut values = vec![None; seconds];
    for sample in of["values"].as_array().unwrap() {
        let at = (sample[0].as_f64().unwrap() - from).round() as usize;
        values[at] = text(&sample[1]).parse().ok();
    }
    Series { labels, values }
}

fn encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The alerts of the guide as they are shipped, but for how long a condition has to hold: seconds instead of minutes.
pub fn guide_rules_with_short_for() -> String {
    let shipped = std::fs::read_to_string(root().join("monitoring/rules/guide.yaml")).unwrap();
    let mut changed = 0;
    let lines: Vec<String> = shipped
        .lines()
        .map(|line| {
            let (key, _) = line.split_once(':').unwrap_or((line, ""));
            let short = match key {
                "        for" => "3s",
                "    interval" => "1s",
                _ => return line.to_owned(),
            };
            changed += 1;
            format!("{key}: {short}")
        })
        .collect();
    assert_eq!(changed, 5, "four alerts and the interval of their group: {shipped}");
    lines.join("\n")
}

/// Whether `promtool` accepts and passes a file of unit tests, and what it says.
pub fn promtool(file: &Path) -> (bool, String) {
    let output = Command::new("promtool").args(["test", "rules"]).arg(file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
