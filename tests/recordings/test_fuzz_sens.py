from tests.recordings import fuzz


def test_no_mutation_stops_a_scan_or_fills_the_memory(tmp_path):
    fuzz.fuzz(len(fuzz.MUTATIONS), tmp_path / "warm")
    before_mb = fuzz.peak_mb()
    tally = fuzz.fuzz(300, tmp_path / "fuzz")
    assert tally.kept and tally.dropped
    assert fuzz.peak_mb() - before_mb < fuzz.MAX_GROWTH_MB
