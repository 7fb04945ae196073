//! x
use std::{sync::Arc, path::Path};
use embermesh_minilm::*;
fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap(); s.split(' ').next().unwrap().parse::<f64>().unwrap()/1e9 }
fn main(){
  let model = Arc::new(MiniLm::load(Path::new("/work/main/.tools/minilm")).unwrap());
  let t: Vec<String> = (0..64).map(|i| format!("Ticket {i}: the nightly import stopped after the second file, and the operator had to restart it by hand. According to the log, the connection to the warehouse was closed by the other side while rows of the orders table were still being copied. We have seen this twice since the firewall was replaced in March; please check its idle timeout before the next run.")).collect();
  let mut ws = Workspace::new();
  let n: usize = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(8);
  model.embed_with(&mut ws, &t[..n]).unwrap();
  for _ in 0..6 {
    let w = std::time::Instant::now(); let c = cpu();
    for c in t.chunks(n) { model.embed_with(&mut ws, c).unwrap(); }
    println!("n={n} cpu {:.2} ms/text wall {:.2}", (cpu()-c)*1e3/64.0, w.elapsed().as_secs_f64()*1e3/64.0);
  }
}
