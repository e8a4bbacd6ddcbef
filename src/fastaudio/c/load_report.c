#include <math.h>
#include <stdlib.h>

#include "load_internal.h"

const char *fa_load_end_text(fa_load_end_t end) {
  static const char *const texts[FA_LOAD_ENDS] = {"none",     "closed",      "reset", "hung_up",
                                                  "protocol", "not_reading", "socket"};
  return end < FA_LOAD_ENDS ? texts[end] : "unknown";
}

static int by_value(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

fa_result_t fa_load_report(const fa_load_t *load, fa_load_report_t *report) {
  uint32_t calls = load->config.calls, rated = 0;
  double *ppm = calloc(calls, sizeof *ppm), *slip = calloc(calls, sizeof *slip);
  if (ppm == NULL || slip == NULL) {
    free(ppm);
    free(slip);
    return FA_ERR_NOMEM;
  }
  const fa_load_totals_t *totals = &load->totals;
  *report = (fa_load_report_t){
      .measured_ns = load->end_ns - load->measure_ns,
      .sent = load->sent,
      .messages = totals->messages,
      .long_gaps = totals->long_gaps,
      .merged = totals->merged,
      .untimed = totals->untimed,
      .gap_p50_ns = fa_load_histogram_quantile(&totals->gaps, 0.5),
      .gap_p99_ns = fa_load_histogram_quantile(&totals->gaps, 0.99),
      .gap_p999_ns = fa_load_histogram_quantile(&totals->gaps, 0.999),
      .gap_max_ns = totals->gaps.max_ns,
      .lag_p50_ns = fa_load_histogram_quantile(&load->lag, 0.5),
      .lag_p99_ns = fa_load_histogram_quantile(&load->lag, 0.99),
      .lag_max_ns = load->lag.max_ns,
      .cpu_ns = load->cpu_ns,
      .turns = load->talk.turns,
      .answers = load->talk.answers,
      .unanswered = load->talk.unanswered,
      .overlaps = load->talk.overlaps,
      .answer_p50_ns = fa_load_histogram_quantile(&load->talk.answered, 0.5),
      .answer_p99_ns = fa_load_histogram_quantile(&load->talk.answered, 0.99),
      .answer_max_ns = load->talk.answered.max_ns,
  };
  for (uint32_t i = 0; i < calls; i++) {
    const fa_caller_t *caller = &load->callers[i];
    int64_t end = caller->state == FA_CALLER_ENDED && caller->since_ns < load->end_ns ? caller->since_ns : load->end_ns;
    if (caller->state == FA_CALLER_ENDED) report->ended[caller->end]++;
    if (caller->stream.first_ns == 0) report->silent++;
    slip[i] = (double)fa_load_stream_slip_ns(&caller->stream, load->measure_ns, end);
    double rate = fa_load_stream_ppm(&caller->stream);
    if (isnan(rate)) continue;
    ppm[rated++] = rate;
    if (fabs(rate) > fabs(report->ppm_worst)) report->ppm_worst = rate;
  }
  qsort(ppm, rated, sizeof *ppm, by_value);
  qsort(slip, calls, sizeof *slip, by_value);
  report->rated = rated;
  report->ppm_median = rated > 0 ? ppm[rated / 2] : 0;
  report->slip_median_ns = (int64_t)slip[calls / 2];
  report->slip_worst_ns = (int64_t)slip[calls - 1];
  free(ppm);
  free(slip);
  return FA_OK;
}
