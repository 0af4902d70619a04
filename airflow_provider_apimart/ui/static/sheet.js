// The contact sheet of a Dag, and of one of its runs: totals, and everything that was made, as pictures.

import { h, register, useState } from "./kit.js";
import { t } from "./language.js";
import { Listing, useListing } from "./listing.js";

function Sheet({ dagId, runId }) {
  const [outcome, setOutcome] = useState("");
  const listing = useListing({ dag_id: dagId, run_id: runId ?? "", outcome });
  return h(
    "section",
    { "aria-label": t(runId ? "sheetOfRun" : "sheetOfDag") },
    h(Listing, { listing, outcome, onOutcome: setOutcome, filtered: outcome !== "" }),
  );
}

// One script, two tabs: the script runs once, so it leaves the page under both names.
register("Dag videos", Sheet);
register("Run videos", Sheet);
