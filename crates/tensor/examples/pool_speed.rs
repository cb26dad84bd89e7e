//! scratch
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
fn main() {
    let pool = ff_tensor::ThreadPool::new(2);
    let busy = |us: f64| {
        let t = Instant::now();
        while t.elapsed().as_secs_f64() * 1e6 < us {}
    };
    for work in [0.0, 1.0, 5.0, 20.0, 100.0] {
        let who = [AtomicU64::new(0), AtomicU64::new(0)];
        let main_id = std::thread::current().id();
        let n = 3000;
        let mut times = vec![];
        for _ in 0..n {
            let t = Instant::now();
            pool.run(2, &|_| {
                busy(work);
                who[usize::from(std::thread::current().id() == main_id)]
                    .fetch_add(1, Ordering::Relaxed);
            });
            times.push(t.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        println!(
            "work {work}: median {:.2} p90 {:.2} p99 {:.2}; main {:?} ",
            times[n / 2],
            times[n * 9 / 10],
            times[n * 99 / 100],
            who
        );
    }
}
