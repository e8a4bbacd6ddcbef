"""Operations: settings, records, recordings, logs and metrics."""
