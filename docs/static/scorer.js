/* Sphinx's own scores, but what explains an error comes before what only names it. */
var Scorer = {
  score: ([docname, title, anchor, descr, score]) => score + (docname === "troubleshooting" ? 50 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
