//! tmp
use embermesh_postgres::*;
use embermesh_private_postgres::*;
use std::time::Instant;
#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let opts = |d: &std::path::Path| Options { durable: true, ..test_options(d) };
    for i in 0..3 {
        let d = dir.path().join(format!("d{i}"));
        let t = Instant::now();
        let s = PrivatePostgres::start(opts(&d)).await.unwrap();
        let cold = t.elapsed();
        let t = Instant::now();
        s.stop().await.unwrap();
        let stop = t.elapsed();
        let t = Instant::now();
        let s = PrivatePostgres::start(opts(&d)).await.unwrap();
        let warm = t.elapsed();
        s.stop().await.unwrap();
        println!("cold {cold:?} stop {stop:?} warm {warm:?}");
    }
    let t = Instant::now();
    let db = TestDatabase::create().await;
    println!("first test db {:?}", t.elapsed());
    let t = Instant::now();
    let _ = TestDatabase::create().await;
    println!("second test db {:?}", t.elapsed());
    let t = Instant::now();
    migrate(db.url(), Schema::Store, &[Migration { name: "V1__a", sql: "CREATE TABLE a (n int primary key); GRANT SELECT, INSERT ON a TO embermesh_app" }]).await.unwrap();
    println!("migrate {:?}", t.elapsed());
    let d = Database::connect(db.url(), Schema::Store, Role::App, &PoolConfig::default()).await.unwrap();
    let n = 20000u32;
    let tenant = uuid::Uuid::from_u128(7);
    for round in 0..2 {
        let (client, conn) = tokio_postgres::connect(secrecy::ExposeSecret::expose_secret(db.url()), tokio_postgres::NoTls).await.unwrap();
        let h = tokio::task::spawn(conn);
        let st = client.prepare("SELECT $1::int").await.unwrap();
        let t = Instant::now();
        for i in 0..n { client.query(&st, &[&(i as i32)]).await.unwrap(); }
        println!("{round} bare {:?}", t.elapsed() / n);
        drop(client); let _ = h.await;
        let t = Instant::now();
        for i in 0..n { d.tenant(tenant).query("SELECT $1::int", &[&(i as i32)]).await.unwrap(); }
        println!("{round} tenant query {:?}", t.elapsed() / n);
        let t = Instant::now();
        for i in 0..n/10 { let tx = d.tenant(tenant).begin().await.unwrap(); tx.query("SELECT $1::int", &[&(i as i32)]).await.unwrap(); tx.commit().await.unwrap(); }
        println!("{round} begin+query+commit {:?}", t.elapsed() / (n/10));
    }
}
