// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IArbiter } from "./interfaces/IArbiter.sol";
import { IRoundLedger } from "./interfaces/IRoundLedger.sol";
import { RoundId } from "./libraries/Types.sol";

/// @title The verifier of a policy: it forwards the decisions of a fixed list of judges to the ledger.
contract Arbiter is IArbiter {
    /// @notice Maximum number of judges.
    uint256 public constant MAX_JUDGES = 16;

    /// @inheritdoc IArbiter
    IRoundLedger public immutable override ledger;

    address[] private _judges;
    /// @inheritdoc IArbiter
    mapping(address account => bool) public override isJudge;
    /// @dev When a held round would become final without the hold; zero if it is not held.
    mapping(RoundId round => uint40) private _withoutHold;

    /// @param ledger_ The ledger; its policies name this contract as their verifier.
    /// @param judges_ The judges, at least one.
    constructor(IRoundLedger ledger_, address[] memory judges_) {
        ledger = ledger_;
        if (judges_.length == 0 || judges_.length > MAX_JUDGES) revert ArbiterInvalidJudges(judges_.length);
        for (uint256 i = 0; i < judges_.length; ++i) {
            if (judges_[i] == address(0) || isJudge[judges_[i]]) revert ArbiterInvalidJudges(i);
            isJudge[judges_[i]] = true;
        }
        _judges = judges_;
    }

    modifier onlyJudge() {
        if (!isJudge[msg.sender]) revert ArbiterNotJudge(msg.sender);
        _;
    }

    /// @inheritdoc IArbiter
    function convict(RoundId round, address challenger) external onlyJudge {
        ledger.reportFraud(round, challenger);
    }

    /// @inheritdoc IArbiter
    function convictContributor(RoundId round, address contributor, address challenger) external onlyJudge {
        ledger.reportFault(round, contributor, challenger);
    }

    /// @inheritdoc IArbiter
    function postpone(RoundId round, uint40 until) external onlyJudge {
        uint40 withoutHold = _withoutHold[round];
        if (withoutHold != 0 && until > withoutHold) _withoutHold[round] = until;
        _postpone(round, until);
    }

    /// @inheritdoc IArbiter
    function hold(RoundId round, uint40 until) external onlyJudge {
        if (_withoutHold[round] == 0) _withoutHold[round] = ledger.rounds(round).challengeDeadline;
        _postpone(round, until);
    }

    /// @inheritdoc IArbiter
    function resume(RoundId round) external onlyJudge {
        uint40 until = _withoutHold[round];
        if (until == 0) revert ArbiterNotHeld(round);
        delete _withoutHold[round];
        ledger.postpone(round, until);
    }

    /// @inheritdoc IArbiter
    function judges() external view returns (address[] memory) {
        return _judges;
    }

    function _postpone(RoundId round, uint40 until) private {
        if (until > ledger.rounds(round).challengeDeadline) ledger.postpone(round, until);
    }
}
