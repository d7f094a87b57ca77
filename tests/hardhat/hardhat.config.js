// SPDX-License-Identifier: Apache-2.0
// A local chain as the tests start Anvil: one account, each transaction mined at once, blocks of the same second.
export default {
  networks: {
    node: {
      type: "edr-simulated",
      chainType: "l1",
      chainId: 31337,
      accounts: { count: 1 },
      allowBlocksWithSameTimestamp: true,
      throwOnTransactionFailures: false,
    },
  },
};
